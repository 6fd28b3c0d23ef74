/* Firmware for a Cortex-M3 without an operating system: sends numbered readings to a topic, and says what became of them.
 * Arguments: TOPIC COUNT SERVERS. UART0 leads to a modem (relay.py), which opens TCP streams. */
#include "board.h"
#include "milena.h"

#define STREAMS 4
#define PATIENCE 10 /* how often in a row a record may be refused for want of memory, with half a second each time */

static milena_handle producer;
static uint32_t streams[STREAMS]; /* connections; 0 for a free place */
static uint64_t delivered, failed;
static int closed;

static size_t length(const char *text) {
    size_t len = 0;
    while (text[len] != 0) len++;
    return len;
}

static void say(const char *text) { board_say(text, length(text)); }

static size_t decimal(uint64_t value, char *text) {
    char digits[20];
    size_t count = 0, len = 0;
    do digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    while (count > 0) text[len++] = digits[--count];
    return len;
}

/* The same in eight digits. */
static size_t padded(uint64_t value, char *text) {
    for (int at = 7; at >= 0; at--, value /= 10) text[at] = (char)('0' + value % 10);
    return 8;
}

static uint64_t number(const char *text) {
    uint64_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint64_t)(*text - '0');
    return value;
}

static void say_number(uint64_t value) {
    char text[20];
    board_say(text, decimal(value, text));
}

static void must(milena_result result, const char *what) {
    static char words[160];
    if (result == MILENA_OK) return;
    say(what);
    say(": error -");
    say_number((uint64_t)-result);
    if (milena_last_error(producer, words, sizeof words, NULL) == MILENA_OK && words[0] != 0) {
        say(": ");
        say(words);
    }
    say("\n");
    board_exit(0);
}

static void frame(char kind, uint32_t conn, const void *data, size_t len) {
    uint8_t head[8] = {(uint8_t)kind, 0, (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)conn, (uint8_t)(conn >> 8), (uint8_t)(conn >> 16), (uint8_t)(conn >> 24)};
    uart_write(head, sizeof head);
    uart_write(data, len);
}

static uint32_t *find(uint32_t conn) {
    for (int at = 0; at < STREAMS; at++)
        if (streams[at] == conn) return &streams[at];
    return NULL;
}

static void begin(const milena_output *it) {
    char place[80];
    uint32_t *free = find(0);
    size_t len = 0;
    if (free == NULL || it->host.len > 64) {
        must(milena_disconnected(producer, board_now(), it->conn, MILENA_CAUSE_CONNECT, NULL, 0), "disconnected");
        return;
    }
    *free = it->conn;
    for (; len < it->host.len; len++) place[len] = ((const char *)it->host.data)[len];
    place[len++] = ':';
    len += decimal(it->port, place + len);
    frame('C', it->conn, place, len);
}

static void transmit(uint32_t conn) {
    for (;;) {
        milena_bytes piece;
        size_t count;
        must(milena_transmit(producer, board_now(), conn, &piece, 1, &count), "transmit");
        if (count == 0) return;
        frame('D', conn, piece.data, piece.len);
        must(milena_written(producer, board_now(), conn, piece.len), "written");
    }
}

static void drain(void) {
    milena_output it;
    uint32_t *stream;
    for (;;) {
        must(milena_poll(producer, &it), "poll");
        switch (it.kind) {
        case MILENA_WAIT: return;
        case MILENA_CONNECT: begin(&it); break;
        case MILENA_DISCONNECT:
            if ((stream = find(it.conn)) != NULL) {
                *stream = 0;
                frame('X', it.conn, NULL, 0);
            }
            break;
        case MILENA_TRANSMIT:
            if (find(it.conn) != NULL) transmit(it.conn);
            break;
        case MILENA_DELIVERED: delivered += it.count; break;
        case MILENA_NOT_DELIVERED: failed += it.count; /* fall through */
        case MILENA_CONNECTION_FAILED:
            board_say(it.text.data, it.text.len);
            say("\n");
            break;
        case MILENA_CLOSED: closed = 1; break;
        default: break;
        }
    }
}

/* Bytes from the modem: a head of 8 bytes, then what it announces. */
static void receive(void) {
    static uint8_t head[8], piece[128];
    static size_t headed, got;
    for (int byte; (byte = uart_read()) >= 0;) {
        if (headed < 8) head[headed++] = (uint8_t)byte;
        else piece[got++] = (uint8_t)byte;
        size_t len = head[2];
        if (headed < 8 || got < len) continue;
        uint32_t conn = head[4] | (uint32_t)head[5] << 8 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 24;
        uint32_t *stream = find(conn);
        headed = got = 0;
        if (stream == NULL) continue;
        if (head[0] == 'O') must(milena_connected(producer, board_now(), conn), "connected");
        else if (head[0] == 'D') must(milena_received(producer, board_now(), conn, piece, len), "received");
        else {
            *stream = 0;
            must(milena_disconnected(producer, board_now(), conn, MILENA_CAUSE_CLOSED, NULL, 0), "disconnected");
        }
    }
}

static char *word(char **line) {
    char *start = *line;
    while (**line != 0 && **line != ' ') ++*line;
    if (**line != 0) *(*line)++ = 0;
    return start;
}

int main(void) {
    static char line[256], error[160], options[384];
    static const char fixed[] = "buffer.memory=8192\nbatch.size=512\nbatch.size.max=512\nmax.request.size=2048\nrequest.timeout.ms=5000\nbootstrap.servers=";
    char *rest = line, *topic, *servers;
    uint64_t count, rate, sent = 0, start = board_now(), again = 0;
    uint8_t seed[32] = {7}; /* has to be random: a board has a source of noise, here it is the time */
    int refused = 0;
    size_t len = 0;

    board_arguments(line, sizeof line);
    word(&rest);
    topic = word(&rest);
    count = number(word(&rest));
    servers = word(&rest);
    rate = number(word(&rest)); /* records a second; 0 is as fast as can be */
    for (; len < sizeof fixed - 1; len++) options[len] = fixed[len];
    for (; *servers != 0 && len < sizeof options; len++) options[len] = *servers++;
    for (int at = 0; at < 8; at++) seed[at] = (uint8_t)(start >> 8 * at);
    for (int at = 0; at < 4; at++) seed[8 + at] = (uint8_t)(board_seconds() >> 8 * at);
    uart_open();
    /* This device's clock begins in 1970. */
    if (milena_new(options, len, start, 0, seed, &producer, error, sizeof error) != MILENA_OK) {
        say(error);
        say("\n");
        board_exit(0);
    }
    while (!closed) {
        while (sent < count && board_now() >= again && (rate == 0 || board_now() - start >= sent * 1000000000 / rate)) {
            char text[8];
            milena_record record = {.topic = {topic, length(topic)}, .value = {text, padded(sent, text)}, .timestamp = -1, .partition = 0};
            milena_result result = milena_send(producer, board_now(), &record, NULL);
            if (result == MILENA_NOT_READY || result == MILENA_BUFFER_FULL) break;
            if (result == MILENA_NO_MEMORY && refused++ < PATIENCE) {
                again = board_now() + 500000000;
                break;
            }
            must(result, "send");
            refused = 0;
            /* Somebody tells the time of day. */
            if (++sent == count / 2) must(milena_time_of_day(producer, board_now(), (int64_t)board_seconds() * 1000), "time");
            if (sent == count) must(milena_close(producer, board_now()), "close");
        }
        drain();
        receive();
        must(milena_timeout(producer, board_now()), "timeout");
    }
    must(milena_free(producer), "free");
    say_number(count);
    say(" records: ");
    say_number(delivered);
    say(" delivered, ");
    say_number(failed);
    say(" failed\nheap ");
    say_number(heap_peak());
    say(" stack ");
    say_number(stack_peak());
    say(" ms ");
    say_number((board_now() - start) / 1000000);
    say("\n");
    board_exit(delivered == count);
}
