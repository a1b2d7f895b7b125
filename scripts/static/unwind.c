/* What gcc's libgcc_eh expects of glibc, for a static program on musl. Without it a backtrace of a Rust panic cannot be printed.
 * Compiled into libunwind.a by scripts/static/std, beside libgcc_eh's own objects. */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <stdint.h>

/* Layout of glibc's struct dl_find_object (2.35 and later), which gcc 12 and later call to find the unwind tables of an address. */
struct found {
    unsigned long long flags;
    void *map_start, *map_end, *link_map, *eh_frame_hdr;
    unsigned long long reserved[7];
};

struct search {
    uintptr_t pc;
    struct found *found;
};

static int contains(struct dl_phdr_info *object, size_t size, void *data)
{
    struct search *search = data;
    void *tables = 0;
    int inside = 0;
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_GNU_EH_FRAME)
            tables = (void *)start;
        if (segment->p_type == PT_LOAD && search->pc >= start && search->pc < start + segment->p_memsz) {
            search->found->map_start = (void *)start;
            search->found->map_end = (void *)(start + segment->p_memsz);
            inside = 1;
        }
    }
    search->found->eh_frame_hdr = tables;
    return inside && tables;
}

int _dl_find_object(void *pc, struct found *found)
{
    struct search search = { (uintptr_t)pc, found };
    *found = (struct found){ 0 };
    return dl_iterate_phdr(contains, &search) ? 0 : -1;
}

/* libgcc_eh refers to these weakly, so a static link would leave them out and a backtrace would jump to address 0. */
void *const rust_ota_keep[] __attribute__((used, retain)) = {
    (void *)pthread_once, (void *)pthread_mutex_lock, (void *)pthread_mutex_unlock,
    (void *)pthread_key_create, (void *)pthread_getspecific, (void *)pthread_setspecific,
};
