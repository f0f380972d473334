/* TLS on a load's connections; see secure.h. */
#include "load/secure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

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

enum gw_err secure_init(SSL_CTX **out, const struct load_plan *p, struct why *why)
{
	SSL_CTX *tls = *out = SSL_CTX_new(TLS_client_method());
	if (!tls)
		return why_set(why, GW_NOMEM, "TLS: %s", ssl_words());
	SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                          SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(tls, p->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	if (p->ca && !SSL_CTX_load_verify_locations(tls, p->ca, NULL))
		return why_set(why, GW_CONFIG, "--ca %s: %s", p->ca, ssl_words());
	if (!p->ca && !p->insecure)
		SSL_CTX_set_default_verify_paths(tls);
	if (p->cert && !is_template(p->cert) && SSL_CTX_use_certificate_chain_file(tls, p->cert) != 1)
		return why_set(why, GW_CONFIG, "--cert %s: %s", p->cert, ssl_words());
	if (p->key && !is_template(p->key) && SSL_CTX_use_PrivateKey_file(tls, p->key, SSL_FILETYPE_PEM) != 1)
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

const char *secure_use_cert(SSL *ssl, const char *path)
{
	return SSL_use_certificate_chain_file(ssl, path) == 1 ? NULL : file_words(path);
}

const char *secure_use_key(SSL *ssl, const char *path)
{
	return SSL_use_PrivateKey_file(ssl, path, SSL_FILETYPE_PEM) == 1 ? NULL : file_words(path);
}

const char *secure_open(SSL **out, SSL_CTX *context, int fd, const char *host)
{
	struct in6_addr ip;
	ERR_clear_error();
	SSL *ssl = *out = SSL_new(context);
	if (!ssl || SSL_set_fd(ssl, fd) != 1)
		return ssl_words();
	if (inet_pton(AF_INET, host, &ip) == 1 || inet_pton(AF_INET6, host, &ip) == 1) {
		X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
	} else {
		SSL_set_tlsext_host_name(ssl, host);
		SSL_set1_host(ssl, host);
	}
	SSL_set_connect_state(ssl);
	return NULL;
}

/* How it looks when the server answers something else, or closes at the first byte. */
static bool speaks_no_tls(const SSL *ssl)
{
	int reason = ERR_GET_REASON(ERR_peek_error());
	return !SSL_is_init_finished(ssl) &&
	       (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING);
}

static void describe(struct secure_loss *loss, const SSL *ssl, const char *doing)
{
	long verified = SSL_get_verify_result(ssl);
	bool shaken = SSL_is_init_finished(ssl);
	int error = errno;
	const char *hint = speaks_no_tls(ssl) ? " (does this port speak TLS?)" : ""; /* before the words are fetched */
	loss->kind = LOAD_TLS;
	if (verified != X509_V_OK && !shaken) {
		snprintf(loss->words, sizeof(loss->words), "%s: the server's certificate: %s", doing,
		         X509_verify_cert_error_string(verified));
	} else if (ERR_peek_error() == 0) {
		loss->kind = shaken ? LOAD_RESET : LOAD_TLS;
		snprintf(loss->words, sizeof(loss->words), "%s: %s", doing,
		         error ? strerror(error) : "the server closed the connection");
	} else {
		snprintf(loss->words, sizeof(loss->words), "%s: %s%s", doing, ssl_words(), hint);
	}
}

int secure_shake(SSL *ssl, bool *for_write, struct secure_loss *loss)
{
	ERR_clear_error();
	errno = 0;
	int r = SSL_do_handshake(ssl), e = SSL_get_error(ssl, r);
	if (r == 1)
		return 1;
	*for_write = e == SSL_ERROR_WANT_WRITE;
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return 0;
	describe(loss, ssl, "handshake");
	return -1;
}

size_t secure_write(SSL *ssl, const uint8_t *bytes, size_t len, uint64_t *on_wire, struct secure_loss *loss)
{
	uint64_t before = BIO_number_written(SSL_get_wbio(ssl));
	size_t at = 0, n;
	ERR_clear_error();
	errno = 0;
	while (at < len) {
		int r = SSL_write_ex(ssl, bytes + at, len - at, &n);
		if (r == 1) {
			at += n;
			continue;
		}
		int e = SSL_get_error(ssl, r);
		if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
			break;
		describe(loss, ssl, "write");
		return SIZE_MAX;
	}
	*on_wire += BIO_number_written(SSL_get_wbio(ssl)) - before;
	return at;
}

ssize_t secure_read(SSL *ssl, uint8_t *out, size_t room, struct secure_loss *loss)
{
	size_t n;
	ERR_clear_error();
	errno = 0;
	int r = SSL_read_ex(ssl, out, room, &n);
	if (r == 1)
		return (ssize_t)n;
	int e = SSL_get_error(ssl, r);
	if (e == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
		errno = EAGAIN;
		return -1;
	}
	describe(loss, ssl, "read");
	return -2;
}
