/* Questions to the operating system that POSIX has no answer for. Any thread. */
#ifndef DS4_BASE_MACHINE_H
#define DS4_BASE_MACHINE_H

#include <stdint.h>

/* Bytes of memory that this machine has; 0 when it cannot be found out. */
uint64_t ds4_machine_memory(void);

#endif
