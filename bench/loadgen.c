/*
 * The bench's load generator: one thread, epoll.
 *
 *   loadgen MODE HELLOS UPSTREAMS PORT ARGUMENT...  puts a load on PORT and prints one JSON line
 *
 * Every TCP connection opens with one of the TLS records in the file HELLOS (record i belongs to upstream
 * i modulo UPSTREAMS), then a struct request. Modes and their arguments are listed in main().
 */
#include "payload.h"
#include <sys/timerfd.h>

enum {
    STALL_MILLISECONDS = 5000, /* without one event: the flows still open are lost */
    CONSECUTIVE_ERRORS_LIMIT = 200,
    OPENING_ERRORS_LIMIT = 20,
    DATAGRAM_LOST_MILLISECONDS = 200,
    FLOOD_BURST = 16,
};
static const double WARM_UP_SECONDS = 0.15;

struct hello {
    unsigned char *data;
    size_t octets;
    uint32_t checksum;
};
static struct hello *hellos;
static int hello_count, upstream_count, proxy_port;
static uint64_t opened_count;
static uint64_t errors, corrupt;

static void read_hellos(const char *path) {
    FILE *file = fopen(path, "rb");
    unsigned char header[5];
    if (!file)
        fail(path);
    while (fread(header, 1, sizeof header, file) == sizeof header) {
        size_t body = (size_t)(header[3] << 8 | header[4]);
        struct hello hello = {allocate(sizeof header + body), sizeof header + body, 0};
        memcpy(hello.data, header, sizeof header);
        if (hello.octets + sizeof(struct request) > OPENING_LIMIT_OCTETS ||
            fread(hello.data + sizeof header, 1, body, file) != body)
            refuse("a TLS record cut short or too long");
        hello.checksum = checksum(hello.data, hello.octets);
        hellos = realloc(hellos, (size_t)(hello_count + 1) * sizeof *hellos);
        hellos[hello_count++] = hello;
    }
    fclose(file);
    if (!hello_count)
        refuse("no TLS record");
}
struct flow {
    int fd, sending; /* sending: the opening has not gone yet */
    uint64_t number;
    uint32_t phase;
    uint64_t sent, received, octets;
    double started;
};
/* The next hello in turn; a stride that is prime spreads 10,000 names over a short run. */
static const struct hello *hello_of(const struct flow *flow) { return &hellos[flow->number * 7919 % hello_count]; }

static size_t make_opening(char *to, const struct flow *flow, uint8_t command) {
    const struct hello *hello = hello_of(flow);
    struct request request = {.magic = REQUEST_MAGIC, .command = command, .phase = flow->phase, .octets = flow->octets};
    request.upstream = (uint8_t)((hello - hellos) % upstream_count);
    request.hello_checksum = hello->checksum;
    memcpy(to, hello->data, hello->octets);
    memcpy(to + hello->octets, &request, sizeof request);
    return hello->octets + sizeof request;
}
static void start_flow(struct flow *flow, uint64_t octets) {
    memset(flow, 0, sizeof *flow);
    flow->number = opened_count++;
    flow->phase = (uint32_t)(flow->number * 2654435761u % PATTERN_PERIOD);
    flow->octets = octets;
    flow->started = now();
}
/* One that connects and opens at once, without blocking: what is left to do waits for EPOLLOUT. */
static int send_opening(struct flow *flow, uint8_t command) {
    static char opening[OPENING_LIMIT_OCTETS];
    size_t octets = make_opening(opening, flow, command);
    ssize_t sent = send(flow->fd, opening, octets, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN))
        return 0;
    return sent == (ssize_t)octets ? 1 : -1;
}
static int connect_flow(struct flow *flow, int port, int flags) {
    struct sockaddr_in address = loopback(port);
    flow->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (flow->fd < 0)
        fail("socket");
    set_option(flow->fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return connect(flow->fd, (void *)&address, sizeof address) == 0 || errno == EINPROGRESS;
}
static int receive_all(int fd, char *to, size_t octets) {
    while (octets) {
        ssize_t got = recv(fd, to, octets, 0);
        if (got <= 0)
            return 0;
        to += got, octets -= (size_t)got;
    }
    return 1;
}
/* A connection opened in peace, blocking, with the first octet echoed: the proxy has decided and relays. */
static int open_echo(struct flow *flow) {
    char opening[OPENING_LIMIT_OCTETS], first;
    struct timeval patience = {STALL_MILLISECONDS / 1000, 0};
    start_flow(flow, 0);
    if (connect_flow(flow, proxy_port, 0)) {
        setsockopt(flow->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        size_t octets = make_opening(opening, flow, ECHO);
        opening[octets++] = *pattern_at(flow->phase);
        if (send(flow->fd, opening, octets, MSG_NOSIGNAL) == (ssize_t)octets && receive_all(flow->fd, &first, 1)) {
            corrupt += first != *pattern_at(flow->phase);
            flow->sent = flow->received = 1;
            return 1;
        }
    }
    close(flow->fd);
    flow->fd = -1;
    errors++;
    return 0;
}
static int open_echoes(struct flow *flows, int count) {
    int opened = 0;
    for (int i = 0; i < count && errors < OPENING_ERRORS_LIMIT; i++)
        if (open_echo(&flows[opened]))
            opened++;
    return opened;
}

static float *latencies;
static size_t latency_count, latency_room;
static void record_latency(double seconds) {
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 1 << 16;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
        if (!latencies)
            fail("realloc");
    }
    latencies[latency_count++] = (float)(seconds * 1e6);
}
static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}
/* units: counted within the seconds; total: also those of the warm-up, which cost the proxy as well. */
static void report(uint64_t units, uint64_t total, double seconds) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"units\": %" PRIu64 ", \"total\": %" PRIu64 ", \"seconds\": %.6f, \"errors\": %" PRIu64
           ", \"corrupt\": %" PRIu64 ", \"load_cpu_seconds\": %.6f",
           units, total, seconds, errors, corrupt,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6);
    if (latency_count) {
        qsort(latencies, latency_count, sizeof *latencies, compare_floats);
        printf(", \"p50_us\": %.2f, \"p99_us\": %.2f", latencies[(latency_count - 1) / 2],
               latencies[(size_t)((double)(latency_count - 1) * 0.99)]);
    }
}
static void report_end(void) { printf("}\n"); }

/* ---- short connections: closed loop, or at a steady rate ---- */

static struct flow *flows_by_fd;
static int load_poller, live_flows, consecutive_errors;

static void begin_connection(uint64_t octets, double started) {
    struct flow flow;
    start_flow(&flow, octets);
    if (started > 0)
        flow.started = started;
    int opened = connect_flow(&flow, proxy_port, SOCK_NONBLOCK) ? send_opening(&flow, REPLY) : -1;
    if (opened < 0) {
        close(flow.fd);
        errors++, consecutive_errors++;
        return;
    }
    flow.sending = !opened;
    flows_by_fd[flow.fd] = flow;
    watch(load_poller, EPOLL_CTL_ADD, flow.fd, opened ? EPOLLIN : EPOLLOUT);
    live_flows++;
}
/* Whether the connection is over. */
static int continue_connection(struct flow *flow, uint64_t *done) {
    int failed = 0;
    if (flow->sending) {
        int opened = send_opening(flow, REPLY);
        if (!opened)
            return 0;
        flow->sending = 0;
        if (opened > 0) {
            watch(load_poller, EPOLL_CTL_MOD, flow->fd, EPOLLIN);
            return 0;
        }
        failed = 1;
    } else {
        ssize_t got = recv(flow->fd, chunk, sizeof chunk, 0);
        if (got > 0) {
            corrupt += !is_pattern(chunk, (size_t)got, flow->phase + flow->received);
            flow->received += (uint64_t)got;
            return 0;
        }
        if (got < 0 && errno == EAGAIN)
            return 0;
        failed = got < 0 || flow->received != flow->octets;
    }
    if (failed)
        errors++, consecutive_errors++;
    else {
        record_latency(now() - flow->started);
        ++*done, consecutive_errors = 0;
    }
    close(flow->fd);
    flow->fd = -1;
    live_flows--;
    return 1;
}
static void run_connections(int concurrency, double seconds, uint64_t octets) {
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t done = 0;
    double started = now(), end = started + seconds;
    for (int i = 0; i < concurrency; i++)
        begin_connection(octets, 0);
    while (live_flows && consecutive_errors < CONSECUTIVE_ERRORS_LIMIT) {
        int count = epoll_wait(load_poller, events, EVENTS_PER_WAIT, STALL_MILLISECONDS);
        if (count <= 0)
            break;
        for (int i = 0; i < count; i++)
            if (continue_connection(&flows_by_fd[events[i].data.fd], &done) && now() < end)
                begin_connection(octets, 0);
    }
    errors += (uint64_t)live_flows;
    report(done, done, now() - started);
    report_end();
}

static int arm_timer(int timer, double when) {
    struct itimerspec at = {.it_value = {(time_t)when, (long)((when - (double)(time_t)when) * 1e9)}};
    return timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}
static int make_timer(void) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    watch(load_poller, EPOLL_CTL_ADD, timer, EPOLLIN);
    return timer;
}
static void run_paced_connections(double rate, double seconds, uint64_t octets) {
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t done = 0, begun = 0, goal = (uint64_t)(rate * seconds);
    int timer = make_timer();
    double started = now() + 0.01;
    arm_timer(timer, started);
    while ((live_flows || begun < goal) && consecutive_errors < CONSECUTIVE_ERRORS_LIMIT) {
        int count = epoll_wait(load_poller, events, EVENTS_PER_WAIT, STALL_MILLISECONDS);
        if (count <= 0)
            break;
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != timer) {
                continue_connection(&flows_by_fd[events[i].data.fd], &done);
                continue;
            }
            for (; begun < goal && started + (double)begun / rate <= now(); begun++)
                begin_connection(octets, started + (double)begun / rate);
            arm_timer(timer, begun < goal ? started + (double)begun / rate : 0);
        }
    }
    errors += (uint64_t)live_flows;
    report(done, done, now() - started);
    report_end();
}

/* ---- echo: one message in flight for each flow, closed loop or at a steady rate ---- */

static int send_message(struct flow *flow, size_t octets, double started) {
    flow->started = started;
    flow->sending = 1;
    if (send(flow->fd, pattern_at(flow->phase + flow->sent), octets, MSG_NOSIGNAL) != (ssize_t)octets)
        return 0;
    flow->sent += octets;
    return 1;
}
/* 1: the whole message is back; 0: not yet; -1: the flow is lost. */
static int receive_message(struct flow *flow) {
    ssize_t got = recv(flow->fd, chunk, sizeof chunk, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    corrupt += !is_pattern(chunk, (size_t)got, flow->phase + flow->received);
    flow->received += (uint64_t)got;
    if (flow->received > flow->sent) {
        corrupt++;
        return -1;
    }
    return flow->received == flow->sent;
}
static struct flow *flow_list;
static int prepare_echoes(int count) {
    flow_list = allocate((size_t)count * sizeof *flow_list);
    int opened = open_echoes(flow_list, count);
    for (int i = 0; i < opened; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        fcntl(flow_list[i].fd, F_SETFL, fcntl(flow_list[i].fd, F_GETFL) | O_NONBLOCK);
        epoll_ctl(load_poller, EPOLL_CTL_ADD, flow_list[i].fd, &event);
    }
    return opened;
}
static void lose_flow(struct flow *flow) {
    errors++, live_flows--;
    close(flow->fd);
    flow->fd = -1;
}
static void run_echo(int count, double seconds, size_t octets) {
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t total = 0, units = 0;
    live_flows = prepare_echoes(count);
    int opened = live_flows, warm = 0;
    double started = now(), moment = started;
    for (int i = 0; i < opened; i++)
        if (!send_message(&flow_list[i], octets, now()))
            lose_flow(&flow_list[i]);
    while (live_flows && !(warm && moment - started >= seconds)) {
        int ready = epoll_wait(load_poller, events, EVENTS_PER_WAIT, STALL_MILLISECONDS);
        if (ready <= 0) {
            errors += (uint64_t)live_flows;
            break;
        }
        for (int i = 0; i < ready; i++) {
            struct flow *flow = &flow_list[events[i].data.u32];
            int result = receive_message(flow);
            if (result > 0) {
                moment = now();
                record_latency(moment - flow->started);
                total++, units++;
                result = send_message(flow, octets, moment) ? 0 : -1;
            }
            if (result < 0)
                lose_flow(flow);
        }
        if (!warm && moment - started >= WARM_UP_SECONDS)
            warm = 1, started = moment, units = 0, latency_count = 0;
    }
    report(units, total, now() - started);
    report_end();
}
/* Message k is due at k / rate on flow k modulo count. A late answer delays the flow's next message, which is
 * then timed from when it was due: waiting does not hide itself. */
static void run_paced_echo(int count, double rate, double seconds, size_t octets) {
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t done = 0, due = 0, goal = (uint64_t)(rate * seconds);
    int opened = live_flows = prepare_echoes(count), timer = make_timer();
    if (!opened)
        goal = 0;
    const uint32_t timer_mark = UINT32_MAX;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = timer_mark};
    epoll_ctl(load_poller, EPOLL_CTL_MOD, timer, &event);
    uint64_t *next = allocate((size_t)(opened + 1) * sizeof *next); /* message that each flow sends next */
    for (int i = 0; i < opened; i++)
        next[i] = (uint64_t)i, flow_list[i].sending = 0;
    double started = now() + 0.01;
    arm_timer(timer, started);
    while (done < goal && live_flows) {
        int ready = epoll_wait(load_poller, events, EVENTS_PER_WAIT, STALL_MILLISECONDS);
        if (ready <= 0) {
            errors += goal - done;
            break;
        }
        for (int i = 0; i < ready; i++) {
            uint32_t which = events[i].data.u32;
            if (which == timer_mark) {
                for (; due < goal && started + (double)due / rate <= now(); due++) {
                    which = (uint32_t)(due % (uint64_t)opened);
                    struct flow *flow = &flow_list[which];
                    if (flow->fd < 0 || flow->sending)
                        continue;
                    if (!send_message(flow, octets, started + (double)next[which] / rate))
                        lose_flow(flow);
                    next[which] += (uint64_t)opened;
                }
                arm_timer(timer, due < goal ? started + (double)due / rate : 0);
                continue;
            }
            struct flow *flow = &flow_list[which];
            int result = receive_message(flow);
            if (result > 0) {
                record_latency(now() - flow->started);
                done++, flow->sending = 0;
                double at = started + (double)next[which] / rate;
                if (next[which] < due) { /* its turn passed while it waited */
                    result = send_message(flow, octets, at) ? 0 : -1;
                    next[which] += (uint64_t)opened;
                }
            }
            if (result < 0)
                lose_flow(flow);
        }
    }
    report(done, done, now() - started);
    report_end();
}

/* ---- bulk ---- */

static void run_bulk(int up, uint64_t octets, int count) {
    struct epoll_event events[EVENTS_PER_WAIT];
    struct verdict verdict;
    uint64_t each = octets / (uint64_t)count, moved = 0;
    double started = now();
    for (int i = 0; i < count; i++) {
        struct flow flow;
        start_flow(&flow, each);
        if (!connect_flow(&flow, proxy_port, 0) || send_opening(&flow, up ? UPLOAD : REPLY) != 1) {
            close(flow.fd);
            errors++;
            continue;
        }
        fcntl(flow.fd, F_SETFL, fcntl(flow.fd, F_GETFL) | O_NONBLOCK);
        flows_by_fd[flow.fd] = flow;
        watch(load_poller, EPOLL_CTL_ADD, flow.fd, up ? EPOLLOUT : EPOLLIN);
        live_flows++;
    }
    while (live_flows) {
        int ready = epoll_wait(load_poller, events, EVENTS_PER_WAIT, STALL_MILLISECONDS);
        if (ready <= 0) {
            errors += (uint64_t)live_flows;
            break;
        }
        for (int i = 0; i < ready; i++) {
            struct flow *flow = &flows_by_fd[events[i].data.fd];
            int over = 0, good = 0;
            if (up && flow->sent < each) {
                ssize_t sent = send_pattern(flow->fd, flow->phase, flow->sent, each);
                over = sent < 0;
                if (sent > 0)
                    flow->sent += (uint64_t)sent, moved += (uint64_t)sent;
                if (flow->sent == each)
                    watch(load_poller, EPOLL_CTL_MOD, flow->fd, EPOLLIN);
            } else if (up) {
                ssize_t got = recv(flow->fd, &verdict, sizeof verdict, 0);
                over = got >= 0 || errno != EAGAIN;
                good = got == sizeof verdict && verdict.octets == each;
                corrupt += good && verdict.corrupt;
            } else {
                ssize_t got = recv(flow->fd, chunk, sizeof chunk, 0);
                if (got > 0) {
                    corrupt += !is_pattern(chunk, (size_t)got, flow->phase + flow->received);
                    flow->received += (uint64_t)got, moved += (uint64_t)got;
                } else if (!got || errno != EAGAIN)
                    over = 1, good = !got && flow->received == each;
            }
            if (over) {
                errors += !good;
                close(flow->fd);
                live_flows--;
            }
        }
    }
    report(moved, moved, now() - started);
    report_end();
}

/* ---- idle connections, held until standard input says so ---- */

static void run_idle(int count) {
    char line[16], octet;
    flow_list = allocate((size_t)count * sizeof *flow_list);
    int opened = open_echoes(flow_list, count);
    printf("held %d\n", opened);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        line[0] = 0;
    uint64_t alive = 0;
    for (int i = 0; i < opened; i++) {
        struct flow *flow = &flow_list[i];
        if (send(flow->fd, pattern_at(flow->phase + 1), 1, MSG_NOSIGNAL) != 1 || !receive_all(flow->fd, &octet, 1))
            errors++;
        else if (octet != *pattern_at(flow->phase + 1))
            corrupt++;
        else
            alive++;
    }
    report(alive, alive, 0);
    report_end();
}

/* ---- half-close, one way and the other ---- */

static int exchange_blocking(struct flow *flow, int port, uint8_t command, uint64_t octets) {
    struct timeval patience = {STALL_MILLISECONDS / 1000, 0};
    start_flow(flow, octets);
    flow->number = 0; /* always the first upstream: its counter is asked afterwards */
    if (!connect_flow(flow, port, 0))
        return 0;
    setsockopt(flow->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(flow->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return send_opening(flow, command) == 1;
}
static int send_payload(const struct flow *flow) {
    for (uint64_t sent = 0; sent < flow->octets;) {
        ssize_t n = send_pattern(flow->fd, flow->phase, sent, flow->octets);
        if (n <= 0)
            return 0;
        sent += (uint64_t)n;
    }
    return shutdown(flow->fd, SHUT_WR) == 0;
}
static int receive_payload(const struct flow *flow) {
    uint64_t received = 0;
    for (ssize_t got; (got = recv(flow->fd, chunk, sizeof chunk, 0)) > 0; received += (uint64_t)got)
        if (!is_pattern(chunk, (size_t)got, flow->phase + received))
            corrupt++;
    return received == flow->octets;
}
static uint64_t ask_verified(int upstream_port) {
    struct flow flow;
    uint64_t answer = 0;
    if (!exchange_blocking(&flow, upstream_port, ASK_VERIFIED, 0) ||
        !receive_all(flow.fd, (char *)&answer, sizeof answer))
        refuse("the upstream does not answer");
    close(flow.fd);
    return answer;
}
static void run_half_close(int upstream_port, uint64_t octets) {
    struct flow flow;
    struct verdict verdict;
    uint64_t before = ask_verified(upstream_port);
    int client_first = exchange_blocking(&flow, proxy_port, CLIENT_ENDS, octets) && send_payload(&flow) &&
                       receive_all(flow.fd, (char *)&verdict, sizeof verdict) && verdict.octets == octets &&
                       !verdict.corrupt && receive_payload(&flow);
    close(flow.fd);
    int upstream_first = exchange_blocking(&flow, proxy_port, UPSTREAM_ENDS, octets) && receive_payload(&flow) &&
                         send_payload(&flow);
    /* The upstream counts at its end of data, which may still be on its way. */
    for (int tries = 0; upstream_first && tries < 50 && ask_verified(upstream_port) == before; tries++)
        usleep(10000);
    upstream_first = upstream_first && ask_verified(upstream_port) == before + 1;
    close(flow.fd);
    errors = 0; /* losing data here is the finding, not a fault of the run */
    report((uint64_t)(client_first + upstream_first), 2, 0);
    printf(", \"client_first\": %d, \"upstream_first\": %d", client_first, upstream_first);
    report_end();
}

/* ---- datagrams ---- */

struct sender {
    int fd;
    uint64_t *outstanding; /* sequence of each datagram in flight, 0 where the place is free */
    double *sent_at;
};
static uint64_t next_sequence;
static uint32_t run_number;
static int connect_datagrams(int port) {
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    set_option(fd, SOL_SOCKET, SO_RCVBUF, DATAGRAM_SOCKET_OCTETS);
    if (fd < 0 || connect(fd, (void *)&address, sizeof address))
        fail("datagram socket");
    return fd;
}
static void send_echo(struct sender *sender, uint32_t client, int place, size_t octets) {
    _Alignas(8) char data[DATAGRAM_LIMIT_OCTETS];
    make_datagram(data, octets, ECHO, run_number, client, ++next_sequence);
    sender->outstanding[place] = next_sequence;
    sender->sent_at[place] = now();
    if (send(sender->fd, data, octets, 0) < 0 && errno != EAGAIN && errno != ECONNREFUSED)
        fail("send datagram");
}
static void run_udp_echo(int clients, int in_flight, double seconds, size_t octets) {
    struct epoll_event events[EVENTS_PER_WAIT];
    _Alignas(8) char data[DATAGRAM_LIMIT_OCTETS];
    struct sender *senders = allocate((size_t)clients * sizeof *senders);
    uint64_t total = 0, units = 0, lost = 0, unexpected = 0;
    for (int i = 0; i < clients; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        senders[i].fd = connect_datagrams(proxy_port);
        senders[i].outstanding = allocate((size_t)in_flight * sizeof(uint64_t));
        senders[i].sent_at = allocate((size_t)in_flight * sizeof(double));
        epoll_ctl(load_poller, EPOLL_CTL_ADD, senders[i].fd, &event);
        for (int k = 0; k < in_flight; k++)
            send_echo(&senders[i], (uint32_t)i, k, octets);
    }
    double started = now(), moment = started, swept = started;
    int warm = 0;
    while (moment - started < seconds || !warm) {
        int ready = epoll_wait(load_poller, events, EVENTS_PER_WAIT, DATAGRAM_LOST_MILLISECONDS / 4);
        for (int i = 0; i < ready; i++) {
            uint32_t client = events[i].data.u32;
            struct sender *sender = &senders[client];
            ssize_t got;
            while ((got = recv(sender->fd, data, sizeof data, 0)) > 0) {
                const struct datagram *d = (const struct datagram *)data;
                if (!is_datagram(data, (size_t)got) || (size_t)got != octets || d->client != client) {
                    corrupt++;
                    continue;
                }
                int place = 0;
                while (place < in_flight && sender->outstanding[place] != d->sequence)
                    place++;
                if (place == in_flight) { /* a repetition, or one given up as lost */
                    unexpected++;
                    continue;
                }
                record_latency(now() - sender->sent_at[place]);
                units++, total++;
                send_echo(sender, client, place, octets);
            }
        }
        moment = now();
        if (moment - swept > DATAGRAM_LOST_MILLISECONDS / 4e3) {
            swept = moment;
            for (int i = 0; i < clients; i++)
                for (int k = 0; k < in_flight; k++)
                    if (moment - senders[i].sent_at[k] > DATAGRAM_LOST_MILLISECONDS / 1e3) {
                        lost++;
                        send_echo(&senders[i], (uint32_t)i, k, octets);
                    }
        }
        if (!warm && moment - started >= WARM_UP_SECONDS)
            warm = 1, started = moment, units = 0, latency_count = 0;
    }
    report(units, total, now() - started);
    printf(", \"lost\": %" PRIu64 ", \"unexpected\": %" PRIu64, lost, unexpected);
    report_end();
}
static struct tally ask_tally(int upstream_port) {
    struct tally answer = {0, 0, 0};
    struct datagram question = {.magic = REQUEST_MAGIC, .command = ASK_VERIFIED, .run = run_number};
    int fd = connect_datagrams(upstream_port);
    for (int tries = 0; tries < 20; tries++) {
        if (send(fd, &question, sizeof question, 0) < 0)
            fail("ask the upstream");
        usleep(50000);
        if (recv(fd, &answer, sizeof answer, 0) == sizeof answer) {
            close(fd);
            return answer;
        }
    }
    refuse("the upstream does not answer");
    return answer;
}
static void run_udp_flood(int upstream_port, int clients, double seconds, size_t octets) {
    static _Alignas(8) char data[DATAGRAMS_PER_CALL][DATAGRAM_LIMIT_OCTETS];
    struct mmsghdr messages[DATAGRAMS_PER_CALL];
    struct iovec vectors[DATAGRAMS_PER_CALL];
    int *fds = allocate((size_t)clients * sizeof *fds);
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < clients; i++)
        fds[i] = connect_datagrams(proxy_port);
    uint64_t sent = 0;
    double started = now(), moment = started;
    for (uint64_t turn = 0; (moment = now()) - started < seconds; turn++) {
        uint32_t client = (uint32_t)(turn % (uint64_t)clients);
        for (int i = 0; i < FLOOD_BURST; i++) {
            make_datagram(data[i], octets, UPLOAD, run_number, client, sent + (uint64_t)i);
            vectors[i] = (struct iovec){data[i], octets};
            messages[i].msg_hdr.msg_iov = &vectors[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        int n = sendmmsg(fds[client], messages, (unsigned)FLOOD_BURST, 0);
        if (n > 0)
            sent += (uint64_t)n;
    }
    double lasted = moment - started;
    /* What queued is still coming: settled when two looks agree. */
    struct tally before, after = ask_tally(upstream_port);
    do {
        before = after;
        usleep(100000);
        after = ask_tally(upstream_port);
    } while (after.counted != before.counted);
    corrupt += after.corrupt;
    report(after.counted, after.counted, lasted);
    printf(", \"offered\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"unexpected\": %" PRIu64, sent, sent - after.counted,
           after.repeated);
    report_end();
}

#ifndef WITHOUT_TLS
#include "tls.h"
#endif

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    int fd_limit = raise_descriptor_limit();
    make_pattern();
    if (count < 6)
        refuse("usage: loadgen MODE HELLOS UPSTREAMS PORT ARGUMENT...");
    const char *mode = words[1];
    read_hellos(words[2]);
    upstream_count = atoi(words[3]);
    proxy_port = atoi(words[4]);
    if (upstream_count < 1)
        refuse("at least one upstream");
    run_number = (uint32_t)(now() * 1e6) ^ (uint32_t)getpid() << 20;
    load_poller = epoll_create1(EPOLL_CLOEXEC);
    flows_by_fd = allocate((size_t)fd_limit * sizeof *flows_by_fd);
    double a[4] = {0, 0, 0, 0};
    int given = count - 5;
    for (int i = 0; i < given && i < 4; i++)
        a[i] = atof(words[5 + i]);
    if (!strcmp(mode, "connections") && given == 3) /* concurrency seconds octets */
        run_connections((int)a[0], a[1], (uint64_t)a[2]);
    else if (!strcmp(mode, "paced-connections") && given == 3) /* rate seconds octets */
        run_paced_connections(a[0], a[1], (uint64_t)a[2]);
    else if (!strcmp(mode, "echo") && given == 3) /* flows seconds octets */
        run_echo((int)a[0], a[1], (size_t)a[2]);
    else if (!strcmp(mode, "paced-echo") && given == 4) /* flows rate seconds octets */
        run_paced_echo((int)a[0], a[1], a[2], (size_t)a[3]);
    else if (!strcmp(mode, "down") && given == 2) /* octets flows */
        run_bulk(0, (uint64_t)a[0], (int)a[1]);
    else if (!strcmp(mode, "up") && given == 2) /* octets flows */
        run_bulk(1, (uint64_t)a[0], (int)a[1]);
    else if (!strcmp(mode, "idle") && given == 1) /* connections */
        run_idle((int)a[0]);
    else if (!strcmp(mode, "half-close") && given == 2) /* upstream-port octets */
        run_half_close((int)a[0], (uint64_t)a[1]);
    else if (!strcmp(mode, "udp-echo") && given == 4) /* clients in-flight seconds octets */
        run_udp_echo((int)a[0], (int)a[1], a[2], (size_t)a[3]);
    else if (!strcmp(mode, "udp-flood") && given == 4) /* upstream-port clients seconds octets */
        run_udp_flood((int)a[0], (int)a[1], a[2], (size_t)a[3]);
#ifndef WITHOUT_TLS
    else if (!strcmp(mode, "tls-connections") && given == 4) /* resumes concurrency seconds octets */
        run_secured_connections((int)a[0], (int)a[1], a[2], (uint64_t)a[3], fd_limit);
    else if ((!strcmp(mode, "tls-down") || !strcmp(mode, "tls-up")) && given == 2) /* octets flows */
        run_secured_bulk(!strcmp(mode, "tls-up"), (uint64_t)a[0], (int)a[1], fd_limit);
#endif
    else if (!strncmp(mode, "tls-", 4))
        refuse("TLS takes OpenSSL's headers (libssl-dev) to build, and the right number of arguments");
    else
        refuse("no such mode, or the wrong number of arguments");
    return 0;
}
