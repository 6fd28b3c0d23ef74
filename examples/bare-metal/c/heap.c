/* A heap of fixed size, first fit, for milena_host_alloc and milena_host_free. Each piece is a multiple of 8 bytes; free ones are a list
 * in order of address, and neighbours become one. */
#include "board.h"
#include "milena.h"

#ifndef HEAP
#define HEAP 16384
#endif

typedef struct piece {
    struct piece *next;
    size_t size;
} piece;

static union {
    char bytes[HEAP];
    uint64_t aligned;
} memory;
static piece first;
static size_t used, peak, last_used;
static void *last;

static size_t rounded(size_t size) { return (size + 7) & ~(size_t)7; }

/* A piece that is asked for and given back at once was only looked for. */
static void settle(void) {
    if (last != NULL && last_used > peak) peak = last_used;
    last = NULL;
}

size_t heap_peak(void) { return peak; }

void *milena_host_alloc(size_t size, size_t align) {
    static int begun;
    if (!begun) {
        begun = 1;
        first.next = (piece *)memory.bytes;
        first.next->next = NULL;
        first.next->size = sizeof memory.bytes;
    }
    settle();
    if (align > 8 || size > sizeof memory.bytes) return NULL;
    size = rounded(size < sizeof(piece) ? sizeof(piece) : size);
    for (piece *before = &first; before->next != NULL; before = before->next) {
        piece *it = before->next;
        if (it->size < size || (it->size > size && it->size - size < sizeof(piece))) continue;
        if (it->size == size) {
            before->next = it->next;
        } else {
            piece *rest = (piece *)((char *)it + size);
            rest->next = it->next;
            rest->size = it->size - size;
            before->next = rest;
        }
        used += size;
        last = it;
        last_used = used;
        return it;
    }
    return NULL;
}

void milena_host_free(void *data, size_t size, size_t align) {
    piece *it = data, *before = &first;
    (void)align;
    if (last == data) last = NULL;
    settle();
    it->size = rounded(size < sizeof(piece) ? sizeof(piece) : size);
    used -= it->size;
    while (before->next != NULL && before->next < it) before = before->next;
    it->next = before->next;
    before->next = it;
    if (it->next != NULL && (char *)it + it->size == (char *)it->next) {
        it->size += it->next->size;
        it->next = it->next->next;
    }
    if (before != &first && (char *)before + before->size == (char *)it) {
        before->size += it->size;
        before->next = it->next;
    }
}

void milena_host_panic(const char *text, size_t len) {
    board_say(text, len);
    board_say("\n", 1);
    board_exit(0);
}

uint8_t milena_host_lock(void) { return 0; } /* one core, and no interrupt that uses a producer */

void milena_host_unlock(uint8_t before) { (void)before; }
