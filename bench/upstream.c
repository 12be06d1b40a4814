/*
 * The bench's upstream: one thread, epoll.
 *
 *   upstream PORT...      serves TCP and UDP on every port until killed
 *
 * It refuses, with a reset, an opening that was altered or that reached the wrong port, so that a wrong routing
 * decision is an error and not a good figure.
 */
#include "payload.h"

enum {
    PORTS_LIMIT = 16,
    ACCEPTS_PER_WAKE = 64,
    LISTEN_BACKLOG = 4096,
    REFUSALS_TOLD = 10,
    SEQUENCE_LIMIT = 1 << 25, /* datagrams of one run that are told apart */
};

struct served {
    int fd, index; /* index: of the port it came in by */
    struct request request;
    uint64_t taken, given;
    int opened, corrupt;
    unsigned char *opening;
    size_t opening_octets;
    char *pending; /* echo that the socket would not take */
    size_t pending_octets;
};
static struct served **served_by_fd;
static int poller, datagram_fds[PORTS_LIMIT];
static uint64_t halves_verified;

static void close_served(struct served *s) {
    served_by_fd[s->fd] = NULL;
    close(s->fd);
    free(s->opening);
    free(s->pending);
    free(s);
}
static void reset_served(struct served *s, const char *why) {
    struct linger abort_at_close = {1, 0};
    static int told;
    if (told++ < REFUSALS_TOLD)
        fprintf(stderr, "upstream: opening refused: %s\n", why);
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &abort_at_close, sizeof abort_at_close);
    close_served(s);
}
static void give(struct served *s) {
    while (s->given < s->request.octets) {
        ssize_t sent = send_pattern(s->fd, s->request.phase, s->given, s->request.octets);
        if (sent < 0) {
            close_served(s);
            return;
        }
        if (!sent) {
            watch(poller, EPOLL_CTL_MOD, s->fd, EPOLLOUT);
            return;
        }
        s->given += (uint64_t)sent;
    }
    if (s->request.command != UPSTREAM_ENDS) {
        close_served(s);
        return;
    }
    shutdown(s->fd, SHUT_WR);
    watch(poller, EPOLL_CTL_MOD, s->fd, EPOLLIN);
}
static void echo_back(struct served *s, const char *data, size_t octets) {
    ssize_t sent = send(s->fd, data, octets, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        close_served(s);
        return;
    }
    size_t done = sent < 0 ? 0 : (size_t)sent;
    if (done == octets)
        return;
    char *rest = allocate(octets - done);
    memcpy(rest, data + done, octets - done);
    free(s->pending);
    s->pending = rest;
    s->pending_octets = octets - done;
    watch(poller, EPOLL_CTL_MOD, s->fd, EPOLLOUT);
}
static void flush_echo(struct served *s) {
    ssize_t sent = send(s->fd, s->pending, s->pending_octets, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        close_served(s);
        return;
    }
    if (sent > 0) {
        s->pending_octets -= (size_t)sent;
        memmove(s->pending, s->pending + sent, s->pending_octets);
    }
    if (!s->pending_octets) {
        free(s->pending);
        s->pending = NULL;
        watch(poller, EPOLL_CTL_MOD, s->fd, EPOLLIN);
    }
}
static int send_verdict(struct served *s) {
    struct verdict verdict = {s->taken, (uint64_t)s->corrupt};
    return send(s->fd, &verdict, sizeof verdict, MSG_NOSIGNAL) == sizeof verdict;
}
static void take(struct served *s, const char *data, size_t octets) {
    if (!octets)
        return;
    if (s->request.command == ECHO) {
        echo_back(s, data, octets);
        return;
    }
    if (!is_pattern(data, octets, s->request.phase + s->taken))
        s->corrupt = 1;
    s->taken += octets;
    if (s->request.command == UPLOAD && s->taken == s->request.octets && !send_verdict(s))
        close_served(s);
}
static void take_end(struct served *s) {
    int whole = s->taken == s->request.octets && !s->corrupt;
    if (s->request.command == CLIENT_ENDS && send_verdict(s)) {
        give(s);
        return;
    }
    if (s->request.command == UPSTREAM_ENDS && whole)
        halves_verified++;
    close_served(s);
}
static void begin(struct served *s) {
    switch (s->request.command) {
    case REPLY:
    case UPSTREAM_ENDS:
        give(s);
        break;
    case ASK_VERIFIED:
        if (send(s->fd, &halves_verified, sizeof halves_verified, MSG_NOSIGNAL) < 0)
            perror("answer");
        close_served(s);
        break;
    }
}
static void read_opening(struct served *s) {
    if (!s->opening)
        s->opening = allocate(OPENING_LIMIT_OCTETS);
    ssize_t got = recv(s->fd, s->opening + s->opening_octets, OPENING_LIMIT_OCTETS - s->opening_octets, 0);
    if (got <= 0) {
        if (!got || errno != EAGAIN)
            close_served(s);
        return;
    }
    s->opening_octets += (size_t)got;
    if (s->opening_octets < 5)
        return;
    /* Where TLS has been terminated there is no hello. */
    int has_hello = memcmp(s->opening, &REQUEST_MAGIC, sizeof REQUEST_MAGIC) != 0;
    size_t hello = has_hello ? 5u + (s->opening[3] << 8 | s->opening[4]) : 0, whole = hello + sizeof s->request;
    if ((has_hello && s->opening[0] != 0x16) || whole > OPENING_LIMIT_OCTETS) {
        reset_served(s, "not one TLS handshake record");
        return;
    }
    if (s->opening_octets < whole)
        return;
    memcpy(&s->request, s->opening + hello, sizeof s->request);
    if (s->request.magic != REQUEST_MAGIC || s->request.hello_checksum != checksum(s->opening, hello)) {
        reset_served(s, "altered");
        return;
    }
    if (s->request.upstream != s->index) {
        reset_served(s, "meant for another upstream");
        return;
    }
    s->opened = 1;
    int fd = s->fd;
    unsigned char *opening = s->opening;
    size_t octets = s->opening_octets;
    s->opening = NULL;
    if (s->request.command != REPLY && s->request.command != ASK_VERIFIED)
        take(s, (char *)opening + whole, octets - whole);
    if (served_by_fd[fd])
        begin(s);
    free(opening);
}
static void serve_readable(struct served *s) {
    if (!s->opened) {
        read_opening(s);
        return;
    }
    ssize_t got = recv(s->fd, chunk, sizeof chunk, 0);
    if (got > 0)
        take(s, chunk, (size_t)got);
    else if (!got)
        take_end(s);
    else if (errno != EAGAIN)
        close_served(s);
}
static void accept_served(int listener, int index) {
    for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        struct served *s = allocate(sizeof *s);
        s->fd = fd;
        s->index = index;
        served_by_fd[fd] = s;
        watch(poller, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static struct tally tally;
static uint32_t tally_run;
static unsigned char sequence_seen[SEQUENCE_LIMIT / 8];

static void count_datagram(const char *data, size_t octets) {
    const struct datagram *d = (const struct datagram *)data;
    if (!is_datagram(data, octets)) {
        tally.corrupt++;
        return;
    }
    if (d->run != tally_run) {
        tally_run = d->run;
        memset(&tally, 0, sizeof tally);
        memset(sequence_seen, 0, sizeof sequence_seen);
    }
    uint64_t at = d->sequence % SEQUENCE_LIMIT;
    if (sequence_seen[at / 8] & 1 << at % 8)
        tally.repeated++;
    else
        tally.counted++;
    sequence_seen[at / 8] |= (unsigned char)(1 << at % 8);
}
static void serve_datagrams(int fd) {
    static _Alignas(8) char data[DATAGRAMS_PER_CALL][DATAGRAM_LIMIT_OCTETS];
    static struct mmsghdr messages[DATAGRAMS_PER_CALL], replies[DATAGRAMS_PER_CALL];
    static struct iovec vectors[DATAGRAMS_PER_CALL];
    static struct sockaddr_in peers[DATAGRAMS_PER_CALL];
    for (int i = 0; i < DATAGRAMS_PER_CALL; i++) {
        vectors[i] = (struct iovec){data[i], DATAGRAM_LIMIT_OCTETS};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    int got = recvmmsg(fd, messages, DATAGRAMS_PER_CALL, MSG_DONTWAIT, NULL), reply_count = 0;
    for (int i = 0; i < got; i++) {
        size_t octets = messages[i].msg_len;
        struct datagram *d = (struct datagram *)data[i];
        vectors[i].iov_len = octets;
        if (octets >= sizeof *d && d->magic == REQUEST_MAGIC && d->command == ECHO)
            replies[reply_count++].msg_hdr = messages[i].msg_hdr;
        else if (octets == sizeof *d && d->magic == REQUEST_MAGIC && d->command == ASK_VERIFIED) {
            struct tally answer = d->run == tally_run ? tally : (struct tally){0, 0, 0};
            if (sendto(fd, &answer, sizeof answer, 0, (void *)&peers[i], sizeof peers[i]) < 0)
                perror("answer");
        } else
            count_datagram(data[i], octets);
    }
    if (reply_count)
        sendmmsg(fd, replies, (unsigned)reply_count, 0);
}
static int bind_port(int port, int type) {
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(port);
    if (type == SOCK_STREAM)
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    else
        set_option(fd, SOL_SOCKET, SO_RCVBUF, DATAGRAM_SOCKET_OCTETS);
    if (bind(fd, (void *)&address, sizeof address))
        fail("bind");
    if (type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG))
        fail("listen");
    return fd;
}
static void serve(int port_count, char **ports, int fd_limit) {
    int listeners[PORTS_LIMIT];
    struct epoll_event events[EVENTS_PER_WAIT];
    if (port_count < 1 || port_count > PORTS_LIMIT)
        refuse("upstream: 1 to 16 ports");
    served_by_fd = allocate((size_t)fd_limit * sizeof *served_by_fd);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < port_count; i++) {
        listeners[i] = bind_port(atoi(ports[i]), SOCK_STREAM);
        datagram_fds[i] = bind_port(atoi(ports[i]), SOCK_DGRAM);
        watch(poller, EPOLL_CTL_ADD, listeners[i], EPOLLIN);
        watch(poller, EPOLL_CTL_ADD, datagram_fds[i], EPOLLIN);
    }
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS_PER_WAIT, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd, own = 0;
            for (int k = 0; k < port_count && !own; k++)
                if (fd == listeners[k])
                    accept_served(fd, k), own = 1;
                else if (fd == datagram_fds[k])
                    serve_datagrams(fd), own = 1;
            struct served *s = own ? NULL : served_by_fd[fd];
            if (!s)
                continue;
            if (s->pending)
                flush_echo(s);
            else if (events[i].events & EPOLLOUT && s->opened)
                give(s);
            else
                serve_readable(s);
        }
    }
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    make_pattern();
    serve(count - 1, words + 1, raise_descriptor_limit());
    return 0;
}
