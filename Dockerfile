# Sluice as a container image: about 40 MB on top of Debian, no compiler, no shell needed at run time.
#
#   docker build -t sluice .
#   docker run -p 1883:1883 -p 5683:5683/udp -p 5170:5170 -p 8080:8080 -p 9480:9480 -v sluice:/var/lib/sluice sluice
#
# It runs as user 65532 with a read-only root file system (--read-only): it writes to /var/lib/sluice only, which must
# be a real volume: the journal of an overlay dies with the container. Another configuration is mounted over
# /etc/sluice/sluice.yaml. test/image.sh builds this file and tries the result.

FROM debian:trixie-slim AS build
# The list of packages is kept in one place. It changes rarely, so this layer is cached.
COPY deploy/install-deps.sh /src/deploy/
RUN /src/deploy/install-deps.sh build && rm -rf /var/lib/apt/lists/*
COPY . /src
WORKDIR /src
RUN make -j"$(nproc)" && make install DESTDIR=/out PREFIX=/usr && strip /out/usr/bin/sluice /out/usr/bin/sluice-load

FROM debian:trixie-slim
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        ca-certificates libcjson1 libcoap3t64 libcurl4t64 libevent-core-2.1-7t64 libjemalloc2 libmicrohttpd12t64 librdkafka1 \
        libssl3t64 libyaml-0-2 zlib1g \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
 && install -d -m 0750 -o 65532 -g 65532 /var/lib/sluice
COPY --from=build /out/usr/bin/sluice /usr/bin/sluice
COPY deploy/image/sluice.yaml /etc/sluice/sluice.yaml
# Fails the build when a library of the list above is missing, or the configuration is not valid.
RUN ["/usr/bin/sluice", "--version"]
RUN ["/usr/bin/sluice", "--check", "/etc/sluice/sluice.yaml"]

ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="IoT ingestion gateway: MQTT, CoAP, TCP and HTTP into Kafka and Elasticsearch" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
WORKDIR /var/lib/sluice
VOLUME /var/lib/sluice
# MQTT, CoAP, TCP lines, HTTP; 9480 is for probes and metrics
EXPOSE 1883 5683/udp 5170 8080 9480
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["sluice", "health"]
ENTRYPOINT ["/usr/bin/sluice"]
CMD ["--config", "/etc/sluice/sluice.yaml"]
