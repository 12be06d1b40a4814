/*
 * TLS 1.3 clients of the load generator: included by loadgen.c, whose flows, counters and report they use.
 *
 * Inside TLS a connection opens with a struct request alone: where it is to arrive stands in the server name.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>

static const char *const TLS_CIPHER_SUITE = "TLS_AES_128_GCM_SHA256";
enum { TLS_READ_OCTETS = 16 << 10 };

struct secured {
    struct flow flow;
    SSL *ssl;
    int is_open;
    uint32_t events;
};
static SSL_CTX *tls_context;
static SSL_SESSION **tls_sessions; /* the newest of each name */
static struct secured *secured_by_fd;
static uint64_t tls_resumed;

static int keep_session(SSL *ssl, SSL_SESSION *session) {
    SSL_SESSION **place = &tls_sessions[(intptr_t)SSL_get_app_data(ssl)];
    SSL_SESSION_free(*place);
    *place = session;
    return 1;
}
static void prepare_tls(int keeps_sessions, int fd_limit) {
    tls_context = SSL_CTX_new(TLS_client_method());
    if (!tls_context || !SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(tls_context, TLS_CIPHER_SUITE) || !SSL_CTX_set1_groups_list(tls_context, "X25519"))
        refuse("OpenSSL does not do TLS 1.3 as it is to");
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(tls_context, keeps_sessions ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
                                                               : SSL_SESS_CACHE_OFF);
    if (keeps_sessions)
        SSL_CTX_sess_set_new_cb(tls_context, keep_session);
    tls_sessions = allocate((size_t)hello_count * sizeof *tls_sessions);
    secured_by_fd = allocate((size_t)fd_limit * sizeof *secured_by_fd);
}
static void begin_secured(uint64_t octets) {
    struct secured secured = {.events = EPOLLOUT};
    char name[32];
    start_flow(&secured.flow, octets);
    if (!connect_flow(&secured.flow, proxy_port, SOCK_NONBLOCK)) {
        close(secured.flow.fd);
        errors++, consecutive_errors++;
        return;
    }
    intptr_t index = hello_of(&secured.flow) - hellos;
    snprintf(name, sizeof name, "s%d.example", (int)index);
    secured.ssl = SSL_new(tls_context);
    if (!secured.ssl || !SSL_set_fd(secured.ssl, secured.flow.fd) || !SSL_set_tlsext_host_name(secured.ssl, name))
        refuse("OpenSSL refuses a connection");
    SSL_set_app_data(secured.ssl, (void *)index);
    SSL_set_connect_state(secured.ssl);
    if (tls_sessions[index]) {
        /* A copy: OpenSSL spoils one that a newer ticket takes the place of, for all that still wait to use it. */
        SSL_SESSION *session = SSL_SESSION_dup(tls_sessions[index]);
        SSL_set_session(secured.ssl, session);
        SSL_SESSION_free(session);
    }
    secured_by_fd[secured.flow.fd] = secured;
    watch(load_poller, EPOLL_CTL_ADD, secured.flow.fd, EPOLLOUT);
    live_flows++;
}
static void await_secured(struct secured *secured, uint32_t events) {
    if (secured->events != events)
        watch(load_poller, EPOLL_CTL_MOD, secured->flow.fd, events);
    secured->events = events;
}
static void end_secured(struct secured *secured, int good) {
    if (good)
        consecutive_errors = 0;
    else
        errors++, consecutive_errors++;
    if (good)
        SSL_shutdown(secured->ssl);
    SSL_free(secured->ssl);
    secured->ssl = NULL;
    ERR_clear_error();
    close(secured->flow.fd);
    live_flows--;
}
/* What OpenSSL waits for is waited for. 0: something else is the matter. */
static int wants_more(struct secured *secured, int result) {
    int error = SSL_get_error(secured->ssl, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        return 0;
    await_secured(secured, error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT);
    return 1;
}
/* 1: open, and the request is sent; 0: not yet; -1: refused. */
static int open_secured(struct secured *secured, uint8_t command) {
    struct flow *flow = &secured->flow;
    struct request request = {.magic = REQUEST_MAGIC, .command = command, .phase = flow->phase, .octets = flow->octets};
    int result = SSL_do_handshake(secured->ssl);
    if (result != 1)
        return wants_more(secured, result) ? 0 : -1;
    request.upstream = (uint8_t)((hello_of(flow) - hellos) % upstream_count);
    request.hello_checksum = checksum(NULL, 0);
    secured->is_open = 1;
    tls_resumed += (uint64_t)SSL_session_reused(secured->ssl);
    await_secured(secured, EPOLLIN);
    return SSL_write(secured->ssl, &request, sizeof request) == sizeof request ? 1 : -1;
}
/* Reads what there is. 0: more may come; 1: all has come, and the end, announced; -1: it has not. */
static int receive_secured(struct secured *secured, uint64_t *moved) {
    struct flow *flow = &secured->flow;
    for (;;) {
        int got = SSL_read(secured->ssl, chunk, TLS_READ_OCTETS);
        if (got <= 0) {
            if (wants_more(secured, got))
                return 0;
            return SSL_get_error(secured->ssl, got) == SSL_ERROR_ZERO_RETURN && flow->received == flow->octets ? 1 : -1;
        }
        corrupt += !is_pattern(chunk, (size_t)got, flow->phase + flow->received);
        flow->received += (uint64_t)got, *moved += (uint64_t)got;
    }
}
/* Sends what is taken, 0; 1: the verdict has come, and is good; -1: it has not, or is not. */
static int upload_secured(struct secured *secured, uint64_t *moved) {
    struct flow *flow = &secured->flow;
    struct verdict verdict;
    while (flow->sent < flow->octets) {
        uint64_t left = flow->octets - flow->sent;
        int size = left < TLS_READ_OCTETS ? (int)left : TLS_READ_OCTETS;
        int sent = SSL_write(secured->ssl, pattern_at(flow->phase + flow->sent), size);
        if (sent <= 0)
            return wants_more(secured, sent) ? 0 : -1;
        flow->sent += (uint64_t)sent, *moved += (uint64_t)sent;
    }
    int got = SSL_read(secured->ssl, &verdict, sizeof verdict);
    if (got <= 0)
        return wants_more(secured, got) ? 0 : -1;
    if (got != sizeof verdict || verdict.octets != flow->octets)
        return -1;
    corrupt += verdict.corrupt;
    return 1;
}
static uint64_t turn_secured(uint8_t command, int count, double end, uint64_t octets, uint64_t *moved) {
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t done = 0;
    for (int i = 0; i < count; i++)
        begin_secured(octets);
    while (live_flows && consecutive_errors < CONSECUTIVE_ERRORS_LIMIT) {
        int ready = epoll_wait(load_poller, events, EVENTS_PER_WAIT, STALL_MILLISECONDS);
        if (ready <= 0)
            break;
        for (int i = 0; i < ready; i++) {
            struct secured *secured = &secured_by_fd[events[i].data.fd];
            int result = secured->is_open ? 1 : open_secured(secured, command);
            if (result > 0)
                result = command == UPLOAD ? upload_secured(secured, moved) : receive_secured(secured, moved);
            if (!result)
                continue;
            if (result > 0)
                record_latency(now() - secured->flow.started);
            done += result > 0;
            end_secured(secured, result > 0);
            if (now() < end)
                begin_secured(octets);
        }
    }
    errors += (uint64_t)live_flows;
    return done;
}
/* Where sessions are resumed, a few connections fetch them first; each that does not resume then is an error. */
static void run_secured_connections(int resumes, int count, double seconds, uint64_t octets, int fd_limit) {
    uint64_t moved = 0, before = 0;
    prepare_tls(resumes, fd_limit);
    if (resumes)
        before = turn_secured(REPLY, 2 * hello_count, 0, octets, &moved);
    latency_count = 0, tls_resumed = 0;
    double started = now();
    uint64_t done = turn_secured(REPLY, count, started + seconds, octets, &moved);
    if (resumes && tls_resumed < done)
        errors += done - tls_resumed, done = tls_resumed;
    report(done, done + before, now() - started);
    printf(", \"resumed\": %" PRIu64, tls_resumed);
    report_end();
}
static void run_secured_bulk(int up, uint64_t octets, int count, int fd_limit) {
    uint64_t moved = 0;
    prepare_tls(0, fd_limit);
    double started = now();
    turn_secured(up ? UPLOAD : REPLY, count, 0, octets / (uint64_t)count, &moved);
    latency_count = 0;
    report(moved, moved, now() - started);
    report_end();
}
