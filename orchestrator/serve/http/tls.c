/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/tls.h"
#include "orchestrator/serve/http/http_parts.h"

#include "formats/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* secret->text has room for `max` + 1 bytes: one byte more than the limit, to detect longer files. Returns
 * ORGAN_BAD_INPUT for longer files. */
static organ_status read_all(int fd, const char *file, size_t max, organ_secret_file *secret, organ_error *error)
{
    for (ssize_t got = 1; got != 0 && secret->length <= max;) {
        got = read(fd, secret->text + secret->length, max + 1 - secret->length);
        if (got < 0 && errno != EINTR)
            return organ_fail_errno(error, errno, "%s", file);
        secret->length += got > 0 ? (size_t)got : 0;
    }
    return secret->length <= max ? ORGAN_OK : organ_refuse(error, file, "has more than %zu bytes", max);
}

/* The text gets max + 2 bytes of memory: one for read_all to detect longer files, one for the NUL. `what` is NULL if
 * the content is public (certificates). */
organ_status organ_secret_file_read(const char *file, const char *what, size_t max, organ_secret_file *secret,
                                    organ_error *error)
{
    *secret = (organ_secret_file){0};
    /* O_NONBLOCK makes the open of a pipe without a writer return. Reading then waits for what the writer writes. */
    ORGAN_OWNED_FILE const int fd = organ_open(file, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s", file);
    if (fcntl(fd, F_SETFL, 0) != 0)
        organ_fail_errno(error, errno, "%s", file);
    else if (!(secret->text = calloc(1, max + 2)))
        organ_fail_memory(error, file);
    else if (fstat(fd, &secret->about) != 0)
        organ_fail_errno(error, errno, "%s", file);
    else if (what && S_ISREG(secret->about.st_mode) && (secret->about.st_mode & (S_IROTH | S_IWOTH)))
        organ_refuse(error, file, "all users may %s %s (mode %04o); use chmod 600",
                     secret->about.st_mode & S_IROTH ? "read" : "change", what,
                     (unsigned)secret->about.st_mode & 07777);
    else
        read_all(fd, file, max, secret, error);
    return error->status;
}

void organ_secret_file_wipe(organ_secret_file *secret)
{
    if (secret->text)
        explicit_bzero(secret->text, secret->length);
    organ_clear(&secret->text);
}

organ_mhd_functions organ_mhd;

static const char *const daemon_library_names[] = {ORGAN_MHD_FUNCTIONS(ORGAN_LIBRARY_NAME)};

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static organ_error fault; /* of load_daemon_library; status ORGAN_OK once the library is loaded */

static void load_daemon_library(void)
{
    organ_library_load("libmicrohttpd.so.12", daemon_library_names,
                       sizeof daemon_library_names / sizeof *daemon_library_names, &organ_mhd, &fault);
}

organ_status organ_daemon_library_open(organ_error *error)
{
    pthread_once(&loaded, load_daemon_library);
    return fault.status ? organ_fail(error, ORGAN_IO, "serving HTTP needs a library that is missing: %s", fault.message)
                        : ORGAN_OK;
}

/* LONGEST_CHAIN counts certificates, LONGEST_PEM bytes. */
enum { LONGEST_CHAIN = 16, LONGEST_PEM = 1 << 20 };

/* clang-format off */
#define TLS_FUNCTIONS(F) \
    F(gnutls_certificate_allocate_credentials, allocate_credentials) \
    F(gnutls_certificate_free_credentials, free_credentials) \
    F(gnutls_certificate_set_x509_key_mem, set_key) \
    F(gnutls_pcert_list_import_x509_raw, import_chain) \
    F(gnutls_pcert_deinit, free_certificate) \
    F(gnutls_privkey_init, make_key) \
    F(gnutls_privkey_deinit, free_key) \
    F(gnutls_privkey_import_x509_raw, import_key) \
    F(gnutls_record_send, send) \
    F(gnutls_bye, part) \
    F(gnutls_strerror, explain)
/* clang-format on */
static struct {
    TLS_FUNCTIONS(ORGAN_LIBRARY_MEMBER)
} gnutls;
static const char *const tls_names[] = {TLS_FUNCTIONS(ORGAN_LIBRARY_NAME)};

/* Old identities are kept until the server ends, because a handshake may still use them. */
typedef struct identity {
    gnutls_pcert_st chain[LONGEST_CHAIN];
    unsigned count; /* certificates in `chain`, the server's first */
    gnutls_privkey_t key;
    struct identity *older; /* the one used before it; NULL: none */
} identity;

struct organ_tls {
    char *certificate, *key; /* names of the files */
    identity *newest;        /* list of all that were loaded, linked by `older` */
};

/* The identity is for new connections; it is atomic, and global because the library calls select_identity without a
 * context. */
static identity *current;

static int select_identity(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
                           const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **chain,
                           unsigned *count, gnutls_privkey_t *key)
{
    (void)session;
    (void)authorities;
    (void)authority_count;
    (void)algorithms;
    (void)algorithm_count;
    identity *const now = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    if (!now)
        return -1;
    *chain = now->chain;
    *count = now->count;
    *key = now->key;
    return 0;
}

/* A certificate is selected for each handshake, so that a renewed one is used without a restart. Only TLS 1.2 and
 * 1.3 are allowed. */
void organ_tls_options(struct MHD_OptionItem options[ORGAN_TLS_OPTIONS])
{
    static char priorities[] = "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
    options[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)select_identity};
    options[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, priorities};
}

void organ_tls_send(void *session, const char *data, size_t bytes)
{
    if (gnutls.send(session, data, bytes) >= 0)
        gnutls.part(session, GNUTLS_SHUT_WR);
}

/* ---- the files ---- */

static organ_status fail_pem(const char *file, const char *what, int code, organ_error *error)
{
    return organ_refuse(error, file, "is not a %s: %s", what, gnutls.explain(code));
}

/* GnuTLS rejects credentials in which the key does not belong to the first certificate. */
static organ_status check_pair(const organ_tls *tls, const gnutls_datum_t *certificate, const gnutls_datum_t *key,
                               organ_error *error)
{
    gnutls_certificate_credentials_t credentials;
    int code = gnutls.allocate_credentials(&credentials);
    if (code < 0)
        return organ_fail_memory(error, tls->certificate);
    code = gnutls.set_key(credentials, certificate, key, GNUTLS_X509_FMT_PEM);
    gnutls.free_credentials(credentials);
    if (code >= 0)
        return ORGAN_OK;
    return organ_refuse(error, tls->key, "is not the key of certificate %s: %s", tls->certificate,
                        gnutls.explain(code));
}

static void free_identity(identity *one)
{
    for (unsigned k = 0; k < one->count; k++)
        gnutls.free_certificate(&one->chain[k]);
    if (one->key)
        gnutls.free_key(one->key);
    free(one);
}

/* The members of `one` that are set when it fails are freed with it (free_identity). */
static organ_status import_identity(const organ_tls *tls, identity *one, const gnutls_datum_t *certificate,
                                    const gnutls_datum_t *key, organ_error *error)
{
    unsigned count = LONGEST_CHAIN;
    int code = gnutls.import_chain(one->chain, &count, certificate, GNUTLS_X509_FMT_PEM, /*flags=*/0);
    if (code < 0)
        return fail_pem(tls->certificate, "certificate in PEM", code, error);
    one->count = count;
    code = gnutls.make_key(&one->key);
    if (code >= 0)
        code = gnutls.import_key(one->key, key, GNUTLS_X509_FMT_PEM, /*password=*/NULL, /*flags=*/0);
    if (code < 0)
        return fail_pem(tls->key, "private key in PEM without a password", code, error);
    return check_pair(tls, certificate, key, error);
}

/* Older certificates are kept until organ_tls_close, because connections may still use them. */
organ_status organ_tls_renew(organ_tls *tls, organ_error *error)
{
    organ_secret_file certificate = {0}, key = {0};
    identity *const one = calloc(1, sizeof *one);
    if (!one)
        return organ_fail_memory(error, tls->certificate);
    if (organ_secret_file_read(tls->certificate, /*what=*/NULL, LONGEST_PEM, &certificate, error) == ORGAN_OK &&
        organ_secret_file_read(tls->key, "the key", LONGEST_PEM, &key, error) == ORGAN_OK)
        import_identity(tls, one, &(gnutls_datum_t){(unsigned char *)certificate.text, (unsigned)certificate.length},
                        &(gnutls_datum_t){(unsigned char *)key.text, (unsigned)key.length}, error);
    organ_secret_file_wipe(&certificate);
    organ_secret_file_wipe(&key);
    if (error->status) {
        free_identity(one);
        return error->status;
    }
    one->older = tls->newest;
    tls->newest = one;
    __atomic_store_n(&current, one, __ATOMIC_RELEASE);
    return ORGAN_OK;
}

organ_status organ_tls_open(const char *certificate, const char *key, organ_tls **made, organ_error *error)
{
    *made = NULL;
    if (organ_mhd.is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return organ_fail(error, ORGAN_IO, "--tls-cert: this libmicrohttpd (%s) was built without TLS",
                          organ_mhd.get_version());
    if (organ_library_load("libgnutls.so.30", tls_names, sizeof tls_names / sizeof *tls_names, &gnutls, error) !=
        ORGAN_OK)
        return error->status;
    organ_tls *const tls = *made = calloc(1, sizeof *tls);
    if (!tls || !(tls->certificate = strdup(certificate)) || !(tls->key = strdup(key)))
        organ_fail_memory(error, certificate);
    else
        organ_tls_renew(tls, error);
    if (error->status) {
        organ_tls_close(tls);
        *made = NULL;
    }
    return error->status;
}

void organ_tls_close(organ_tls *tls)
{
    if (!tls)
        return;
    __atomic_store_n(&current, NULL, __ATOMIC_RELEASE);
    for (identity *one = tls->newest, *older; one; one = older) {
        older = one->older;
        free_identity(one);
    }
    ORGAN_FREE_ARRAYS(tls->certificate, tls->key, tls);
}
