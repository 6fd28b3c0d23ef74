/* Sends numbers to a topic, over poll(2), in plain text.
 *
 *     poll HOST:PORT TOPIC COUNT [RECORDS_PER_SECOND]
 *
 * Built by: cc -Wall -Wextra -I capi/include capi/examples/poll.c -lmilena_capi -lpthread -ldl -lm */
#include "milena.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define STREAMS 16
#define PIECES 16
#define PATIENCE 5000000000u /* nanoseconds that a record may wait before a word is said */

static milena_handle producer;
/* A stream is a place in these: the connection's number and its socket, -1 for a free place. */
static uint32_t conns[STREAMS];
static struct pollfd sockets[STREAMS];
static int connecting[STREAMS];
static uint64_t delivered, failed;
static int closed;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void must(milena_result result, const char *what) {
    if (result != MILENA_OK) {
        fprintf(stderr, "%s: error %d\n", what, (int)result);
        exit(1);
    }
}

static int find(uint32_t conn) {
    for (int at = 0; at < STREAMS; at++)
        if (sockets[at].fd >= 0 && conns[at] == conn) return at;
    return -1;
}

static void end(int at, uint32_t cause, const char *words) {
    close(sockets[at].fd);
    sockets[at].fd = -1;
    must(milena_disconnected(producer, now(), conns[at], cause, words, strlen(words)), "disconnected");
}

static void begin(const milena_output *it) {
    char host[256], port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *address;
    int at = 0, error;
    snprintf(host, sizeof host, "%.*s", (int)it->host.len, (const char *)it->host.data);
    snprintf(port, sizeof port, "%u", it->port);
    while (at < STREAMS && sockets[at].fd >= 0) at++;
    if (at == STREAMS) {
        must(milena_disconnected(producer, now(), it->conn, MILENA_CAUSE_LOCAL, "", 0), "disconnected");
        return;
    }
    conns[at] = it->conn;
    error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        const char *words = gai_strerror(error);
        must(milena_disconnected(producer, now(), it->conn, MILENA_CAUSE_RESOLVE, words, strlen(words)), "disconnected");
        return;
    }
    address = found;
    for (uint32_t skip = it->attempt; skip > 0; skip--) address = address->ai_next ? address->ai_next : found;
    sockets[at].fd = socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    sockets[at].events = POLLOUT;
    sockets[at].revents = 0;
    connecting[at] = 1;
    if (sockets[at].fd < 0 || fcntl(sockets[at].fd, F_SETFL, O_NONBLOCK) < 0 ||
        (connect(sockets[at].fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS))
        end(at, MILENA_CAUSE_CONNECT, strerror(errno));
    freeaddrinfo(found);
}

/* Writes until there is nothing more, or the socket takes no more. */
static void send_bytes(int at) {
    for (;;) {
        milena_bytes pieces[PIECES];
        struct iovec out[PIECES];
        size_t count;
        ssize_t written;
        must(milena_transmit(producer, now(), conns[at], pieces, PIECES, &count), "transmit");
        sockets[at].events = count > 0 ? POLLIN | POLLOUT : POLLIN;
        if (count == 0) return;
        for (size_t i = 0; i < count; i++) out[i] = (struct iovec){(void *)pieces[i].data, pieces[i].len};
        struct msghdr message = {.msg_iov = out, .msg_iovlen = count};
        written = sendmsg(sockets[at].fd, &message, MSG_NOSIGNAL);
        if (written >= 0)
            must(milena_written(producer, now(), conns[at], (size_t)written), "written");
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR) {
            end(at, MILENA_CAUSE_IO, strerror(errno));
            return;
        }
    }
}

static void receive_bytes(int at) {
    char bytes[16384];
    ssize_t got = recv(sockets[at].fd, bytes, sizeof bytes, 0);
    if (got > 0)
        must(milena_received(producer, now(), conns[at], bytes, (size_t)got), "received");
    else if (got == 0)
        end(at, MILENA_CAUSE_CLOSED, "");
    else if (errno != EAGAIN && errno != EINTR)
        end(at, MILENA_CAUSE_IO, strerror(errno));
}

/* Says why nothing is sent, once in ten seconds while that is so. */
static void complain(void) {
    static const char *const states[] = {"not connected", "connecting", "up", "down"};
    static uint64_t next;
    milena_health health;
    milena_server server;
    char why[256];
    uint64_t time = now();
    if (time < next || milena_is_healthy(producer, time, PATIENCE) != MILENA_UNHEALTHY) return;
    must(milena_get_health(producer, time, &health), "get_health");
    if (health.closing && (health.open_records == 0 || health.oldest_record <= PATIENCE)) return;
    next = time + 2 * PATIENCE;
    must(milena_why(producer, time, NULL, 0, why, sizeof why, NULL), "why");
    fprintf(stderr, "nothing is sent, %u records wait: %s\n", (unsigned)health.open_records, why);
    for (uint32_t at = 0; milena_get_server(producer, time, at, &server) == MILENA_OK; at++)
        fprintf(stderr, "  %.*s:%u: %s, for %u s: %.*s\n", (int)server.host.len, (const char *)server.host.data, server.port,
                states[server.state], (unsigned)(server.lasts / 1000000000u), (int)server.text.len,
                (const char *)server.text.data);
}

/* Does all that is to be done. Returns until when nothing is. */
static uint64_t drain(void) {
    for (;;) {
        milena_output it;
        int at;
        must(milena_poll(producer, &it), "poll");
        switch (it.kind) {
        case MILENA_WAIT: return it.time;
        case MILENA_CONNECT: begin(&it); break;
        case MILENA_DISCONNECT:
            if ((at = find(it.conn)) >= 0) close(sockets[at].fd), sockets[at].fd = -1;
            break;
        case MILENA_TRANSMIT:
            if ((at = find(it.conn)) >= 0 && !connecting[at]) send_bytes(at);
            break;
        case MILENA_DELIVERED: delivered += it.count; break;
        case MILENA_NOT_DELIVERED:
            failed += it.count;
            fprintf(stderr, "%u records failed: %.*s\n", (unsigned)it.count, (int)it.text.len, (const char *)it.text.data);
            break;
        case MILENA_TOPIC_READY: /* the loop in main tries again */
        case MILENA_WRITABLE: break;
        case MILENA_CLOSED: closed = 1; break;
        case MILENA_CONNECTION_FAILED:
        case MILENA_TOPIC_FAILED:
        case MILENA_DENIED:
        case MILENA_FATAL:
            fprintf(stderr, "%.*s:%u: %.*s\n", (int)it.host.len, (const char *)it.host.data, it.port, (int)it.text.len,
                    (const char *)it.text.data);
            break;
        }
    }
}

/* Waits for sockets, or for a time, and tells the producer what happened. */
static void work(uint64_t until) {
    uint64_t at_most = drain(), time = now();
    if (at_most > until) at_most = until;
    int millis = at_most <= time ? 0 : at_most - time > 1000000000u ? 1000 : (int)((at_most - time + 999999u) / 1000000u);
    if (poll(sockets, STREAMS, millis) > 0)
        for (int at = 0; at < STREAMS; at++) {
            if (sockets[at].fd < 0 || sockets[at].revents == 0) continue;
            if (connecting[at]) {
                int error = 0;
                socklen_t size = sizeof error;
                getsockopt(sockets[at].fd, SOL_SOCKET, SO_ERROR, &error, &size);
                connecting[at] = 0;
                if (error != 0) {
                    end(at, MILENA_CAUSE_CONNECT, strerror(error));
                    continue;
                }
                must(milena_connected(producer, now(), conns[at]), "connected");
                send_bytes(at);
            } else {
                if (sockets[at].revents & POLLOUT) send_bytes(at);
                if (sockets[at].fd >= 0 && sockets[at].revents & ~POLLOUT) receive_bytes(at);
            }
        }
    must(milena_timeout(producer, now()), "timeout");
    complain();
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s HOST:PORT TOPIC COUNT [RECORDS_PER_SECOND]\n", argv[0]);
        return 2;
    }
    unsigned long count = strtoul(argv[3], NULL, 10), rate = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    char options[1024], error[512], value[32];
    uint8_t seed[32];
    uint64_t start = now();
    FILE *random = fopen("/dev/urandom", "rb");
    if (random == NULL || fread(seed, 1, sizeof seed, random) != sizeof seed) return 1;
    fclose(random);
    for (int at = 0; at < STREAMS; at++) sockets[at].fd = -1;
    snprintf(options, sizeof options, "bootstrap.servers=%s\nlinger.ms=5\nclient.id=poll.c\n", argv[1]);
    if (milena_new(options, strlen(options), start, (int64_t)time(NULL) * 1000, seed, &producer, error, sizeof error)) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    for (unsigned long sent = 0; sent < count;) {
        uint64_t due = rate == 0 ? 0 : start + sent * (1000000000u / rate);
        int len = snprintf(value, sizeof value, "%08lu", sent);
        milena_record record = {.topic = {argv[2], strlen(argv[2])}, .value = {value, (size_t)len}, .timestamp = -1, .partition = 0};
        milena_result result = now() < due ? MILENA_NOT_READY : milena_send(producer, now(), &record, NULL);
        if (result == MILENA_OK)
            sent++;
        else if (result == MILENA_NOT_READY || result == MILENA_BUFFER_FULL)
            work(due > now() ? due : MILENA_FOREVER);
        else {
            milena_last_error(producer, error, sizeof error, NULL);
            fprintf(stderr, "%s\n", error);
            return 1;
        }
    }
    must(milena_close(producer, now()), "close");
    while (!closed) work(MILENA_FOREVER);
    must(milena_free(producer), "free");
    printf("%lu records: %lu delivered, %lu failed\n", count, (unsigned long)delivered, (unsigned long)failed);
    return failed > 0;
}
