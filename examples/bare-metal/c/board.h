/* What a board gives: here QEMU's lm3s6965evb, with semihosting for arguments, clock, console and exit. */
#ifndef BOARD_H
#define BOARD_H
#include <stddef.h>
#include <stdint.h>

uint64_t board_now(void);                       /* nanoseconds since the start */
uint32_t board_seconds(void);                   /* since the Unix epoch */
void board_arguments(char *line, size_t room);  /* the command line */
void board_say(const char *text, size_t len);
void board_exit(int ok) __attribute__((noreturn));
void uart_open(void);
void uart_write(const void *data, size_t len);
int uart_read(void);                            /* a byte, or -1 */
size_t stack_peak(void);                        /* bytes of the stack used at most */
size_t heap_peak(void);                         /* bytes of the heap used at most */
#endif
