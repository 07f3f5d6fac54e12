/* memory.h - device memory for the runtime API (cudart.cc). */
#ifndef VM_EMU_MEMORY_H
#define VM_EMU_MEMORY_H
#include <stddef.h>

namespace emu {
struct shadow;
size_t device_memory();                       /* of the whole device; VISMIN_EMU_MEMORY in MiB */
size_t device_held();
void *device_take(size_t bytes);              /* NULL when out */
void device_give(void *p, const char *call);
void shadow_free(shadow *s);

/* heap.cc */
char *heap_take(size_t bytes);                /* NULL when out */
void heap_give(char *p, size_t bytes);
void heap_open();                             /* pairs: device memory may be touched between them */
void heap_close();
void heap_part(char *p, size_t bytes, bool open); /* the same for the pages of one block, which is cheaper */
struct opened {
    opened() { heap_open(); }
    ~opened() { heap_close(); }
};
struct opened_part {
    char *p;
    size_t bytes;
    opened_part(char *p_, size_t bytes_) : p(p_), bytes(bytes_) { heap_part(p, bytes, true); }
    ~opened_part() { heap_part(p, bytes, false); }
};
} /* namespace emu */

#endif
