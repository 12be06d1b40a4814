/*
 * What the load and the upstream have in common: the payload, and what a connection or datagram asks for.
 *
 * All payload is a window of one pseudo-random pattern with a prime period, and every flow starts at a place
 * of its own in it: octets lost, repeated, reordered, or belonging to another flow do not compare equal.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PATTERN_PERIOD = 65521,        /* prime, and small enough to stay in a core's own cache */
    CHUNK_OCTETS = 256 << 10,      /* one recv */
    SENDFILE_OCTETS = 1 << 20,     /* one sendfile */
    SMALL_REPLY_OCTETS = 32 << 10, /* up to here a plain send is cheaper than sendfile */
    OPENING_LIMIT_OCTETS = 20 << 10,
    EVENTS_PER_WAIT = 256,
    DATAGRAM_LIMIT_OCTETS = 2048,
    DATAGRAMS_PER_CALL = 64,
    DATAGRAM_SOCKET_OCTETS = 4 << 20,
    DESCRIPTORS_LIMIT = 1 << 20,
};
static const uint32_t REQUEST_MAGIC = 0x706d6d62;

struct request {
    uint32_t magic;
    uint8_t command;
    uint8_t upstream; /* where this connection is to arrive */
    uint16_t unused;
    uint32_t phase; /* where in the pattern the payload starts */
    uint32_t hello_checksum;
    uint64_t octets;
};
/* Commands. */
enum {
    REPLY = 'R',          /* send the octets, close */
    ECHO = 'E',           /* send back all that comes, until the end */
    UPLOAD = 'U',         /* take the octets, answer with a verdict */
    CLIENT_ENDS = 'H',    /* take the octets and the end of data, then answer with a verdict and the octets */
    UPSTREAM_ENDS = 'F',  /* send the octets and the end of data, then take the octets */
    ASK_VERIFIED = 'Q',   /* how many UPSTREAM_ENDS were right so far */
};
struct verdict {
    uint64_t octets;
    uint64_t corrupt;
};
struct datagram {
    uint32_t magic;
    uint8_t command; /* ECHO, UPLOAD (count it) or ASK_VERIFIED */
    uint8_t unused[3];
    uint32_t run;
    uint32_t client;
    uint64_t sequence;
};
struct tally {
    uint64_t counted, corrupt, repeated;
};
static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static void fail(const char *what) {
    perror(what);
    exit(1);
}
static void refuse(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(2);
}
static void *allocate(size_t octets) {
    void *memory = calloc(1, octets);
    if (!memory)
        fail("calloc");
    return memory;
}

static char pattern[2 * PATTERN_PERIOD];
static int pattern_file; /* the pattern over and over, for sendfile */
static char chunk[CHUNK_OCTETS];

static void make_pattern(void) {
    uint32_t x = 2463534242u;
    for (int i = 0; i < PATTERN_PERIOD; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        pattern[i] = pattern[i + PATTERN_PERIOD] = (char)(x >> 24);
    }
    pattern_file = memfd_create("pattern", MFD_CLOEXEC);
    for (int written = 0; written < SENDFILE_OCTETS + PATTERN_PERIOD; written += PATTERN_PERIOD)
        if (write(pattern_file, pattern, PATTERN_PERIOD) != PATTERN_PERIOD)
            fail("memfd");
}
static const char *pattern_at(uint64_t position) { return pattern + position % PATTERN_PERIOD; }
static int is_pattern(const char *data, size_t octets, uint64_t position) {
    while (octets) {
        size_t n = octets < PATTERN_PERIOD ? octets : PATTERN_PERIOD;
        if (memcmp(data, pattern_at(position), n))
            return 0;
        data += n, octets -= n, position += n;
    }
    return 1;
}
static void copy_pattern(char *to, size_t octets, uint64_t position) {
    while (octets) {
        size_t n = octets < PATTERN_PERIOD ? octets : PATTERN_PERIOD;
        memcpy(to, pattern_at(position), n);
        to += n, octets -= n, position += n;
    }
}
/* Sends more of a payload of `octets` of which `done` are sent: what send() says, or 0 where it would block. */
static ssize_t send_pattern(int fd, uint32_t phase, uint64_t done, uint64_t octets) {
    uint64_t left = octets - done, position = (phase + done) % PATTERN_PERIOD;
    ssize_t sent;
    if (octets <= SMALL_REPLY_OCTETS)
        sent = send(fd, pattern + position, left, MSG_NOSIGNAL);
    else {
        off_t offset = (off_t)position;
        sent = sendfile(fd, pattern_file, &offset, left < SENDFILE_OCTETS ? left : SENDFILE_OCTETS);
    }
    return sent < 0 && errno == EAGAIN ? 0 : sent;
}
static uint32_t checksum(const unsigned char *data, size_t octets) { /* FNV-1a */
    uint32_t sum = 2166136261u;
    while (octets--)
        sum = (sum ^ *data++) * 16777619u;
    return sum;
}
static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}
static void set_option(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }
static void watch(int poller, int operation, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event))
        fail("epoll_ctl");
}
static int is_datagram(const char *data, size_t octets) {
    const struct datagram *d = (const struct datagram *)data;
    return octets >= sizeof *d && d->magic == REQUEST_MAGIC &&
           is_pattern(data + sizeof *d, octets - sizeof *d, d->sequence * 7919 + d->client);
}
static inline void make_datagram(char *data, size_t octets, uint8_t command, uint32_t run, uint32_t client, uint64_t sequence) {
    struct datagram d = {.magic = REQUEST_MAGIC, .command = command, .run = run, .client = client, .sequence = sequence};
    memcpy(data, &d, sizeof d);
    copy_pattern(data + sizeof d, octets - sizeof d, sequence * 7919 + client);
}
static int raise_descriptor_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS_LIMIT ? limit.rlim_max : DESCRIPTORS_LIMIT;
    setrlimit(RLIMIT_NOFILE, &limit);
    return (int)limit.rlim_cur;
}
