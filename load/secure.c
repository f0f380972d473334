/* TLS on a load's connections; see secure.h. */
#include "load/secure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "load/worker.h"

static const char *ssl_words(void)
{
	static _Thread_local char words[200];
	unsigned long e = ERR_get_error();
	if (e == 0)
		return "TLS failed";
	ERR_error_string_n(e, words, sizeof(words));
	ERR_clear_error();
	return words;
}

static bool is_template(const char *text)
{
	return text && strchr(text, '{');
}

enum gw_err secure_init(struct load_job *j, struct why *why)
{
	const struct load_plan *p = j->plan;
	if (!(j->tls = SSL_CTX_new(TLS_client_method())))
		return why_set(why, GW_NOMEM, "TLS: %s", ssl_words());
	SSL_CTX_set_min_proto_version(j->tls, TLS1_2_VERSION);
	SSL_CTX_set_mode(j->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                             SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(j->tls, p->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	if (p->ca && !SSL_CTX_load_verify_locations(j->tls, p->ca, NULL))
		return why_set(why, GW_CONFIG, "--ca %s: %s", p->ca, ssl_words());
	if (!p->ca && !p->insecure)
		SSL_CTX_set_default_verify_paths(j->tls);
	if (p->cert && !is_template(p->cert) && SSL_CTX_use_certificate_chain_file(j->tls, p->cert) != 1)
		return why_set(why, GW_CONFIG, "--cert %s: %s", p->cert, ssl_words());
	if (p->key && !is_template(p->key) && SSL_CTX_use_PrivateKey_file(j->tls, p->key, SSL_FILETYPE_PEM) != 1)
		return why_set(why, GW_CONFIG, "--key %s: %s", p->key, ssl_words());
	return GW_OK;
}

/* What failed with a file of one connection's own. */
static const char *file_words(const char *path)
{
	static _Thread_local char words[800];
	snprintf(words, sizeof(words), "%s: %s", path, ssl_words());
	return words;
}

/* The connection's own certificate or key, when the plan names them by a template. NULL, or what is wrong. */
static const char *use_own(struct connection *c)
{
	struct load_job *j = c->worker->job;
	char path[512];
	if (j->cert && payload_max(j->cert, j->name_max) < sizeof(path)) {
		path[connection_text(c, j->cert, 0, (uint8_t *)path)] = 0;
		if (SSL_use_certificate_chain_file(c->ssl, path) != 1)
			return file_words(path);
	}
	if (j->key && payload_max(j->key, j->name_max) < sizeof(path)) {
		path[connection_text(c, j->key, 0, (uint8_t *)path)] = 0;
		if (SSL_use_PrivateKey_file(c->ssl, path, SSL_FILETYPE_PEM) != 1)
			return file_words(path);
	}
	return NULL;
}

const char *secure_open(struct connection *c)
{
	struct load_job *j = c->worker->job;
	struct in6_addr ip;
	const char *host = j->plan->host;
	ERR_clear_error();
	if (!(c->ssl = SSL_new(j->tls)) || SSL_set_fd(c->ssl, c->fd) != 1)
		return ssl_words();
	const char *wrong = use_own(c);
	if (wrong)
		return wrong;
	if (inet_pton(AF_INET, host, &ip) == 1 || inet_pton(AF_INET6, host, &ip) == 1) {
		X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), host);
	} else {
		SSL_set_tlsext_host_name(c->ssl, host);
		SSL_set1_host(c->ssl, host);
	}
	SSL_set_connect_state(c->ssl);
	return NULL;
}

void secure_close(struct connection *c)
{
	SSL_free(c->ssl);
	c->ssl = NULL;
}

/* How it looks when the server answers something else, or closes at the first byte. */
static bool speaks_no_tls(const struct connection *c)
{
	int reason = ERR_GET_REASON(ERR_peek_error());
	return !SSL_is_init_finished(c->ssl) &&
	       (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING);
}

static void lost(struct connection *c, const char *doing)
{
	long verified = SSL_get_verify_result(c->ssl);
	int error = errno;
	const char *hint = speaks_no_tls(c) ? " (does this port speak TLS?)" : ""; /* before the words are fetched */
	if (verified != X509_V_OK && !SSL_is_init_finished(c->ssl))
		connection_lost(c, LOAD_TLS, "%s: the server's certificate: %s", doing,
		                X509_verify_cert_error_string(verified));
	else if (ERR_peek_error() == 0)
		connection_lost(c, SSL_is_init_finished(c->ssl) ? LOAD_RESET : LOAD_TLS, "%s: %s", doing,
		                error ? strerror(error) : "the server closed the connection");
	else
		connection_lost(c, LOAD_TLS, "%s: %s%s", doing, ssl_words(), hint);
}

int secure_shake(struct connection *c)
{
	ERR_clear_error();
	errno = 0;
	int r = SSL_do_handshake(c->ssl), e = SSL_get_error(c->ssl, r);
	if (r == 1)
		return 1;
	c->blocked = e == SSL_ERROR_WANT_WRITE;
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return 0;
	lost(c, "handshake");
	return -1;
}

size_t secure_write(struct connection *c, const uint8_t *bytes, size_t len)
{
	uint64_t before = BIO_number_written(SSL_get_wbio(c->ssl));
	size_t at = 0, n;
	ERR_clear_error();
	errno = 0;
	while (at < len) {
		int r = SSL_write_ex(c->ssl, bytes + at, len - at, &n);
		if (r == 1) {
			at += n;
			continue;
		}
		int e = SSL_get_error(c->ssl, r);
		if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) {
			lost(c, "write");
			return SIZE_MAX;
		}
		c->blocked = true;
		break;
	}
	c->worker->counts.bytes_out += BIO_number_written(SSL_get_wbio(c->ssl)) - before;
	return at;
}

ssize_t secure_read(struct connection *c, uint8_t *out, size_t room)
{
	size_t n;
	ERR_clear_error();
	errno = 0;
	int r = SSL_read_ex(c->ssl, out, room, &n);
	if (r == 1)
		return (ssize_t)n;
	int e = SSL_get_error(c->ssl, r);
	if (e == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
		errno = EAGAIN;
		return -1;
	}
	lost(c, "read");
	return -2;
}
