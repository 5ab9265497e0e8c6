// What the shapes share: our own declarations of what they call, and pools of the
// kind the driver has. No SDK and no header of a system is needed.
//
// Each function's name says what the finder must say about it: names with `late`
// clear the field after the unlock, `right` before it, `nopool` give nothing back
// under a lock, and `unclear` must be refused.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

typedef unsigned int u32;
typedef unsigned long usize;
typedef struct { u32 opaque; } os_unfair_lock;

void os_unfair_lock_lock(os_unfair_lock *);
void os_unfair_lock_lock_with_options(os_unfair_lock *, u32);
int os_unfair_lock_trylock(os_unfair_lock *);
void os_unfair_lock_unlock(os_unfair_lock *);
void free(void *);
void elsewhere(void *);
int chance(void);

#ifdef __cplusplus
}
#endif

#define KEPT __attribute__((used, visibility("default")))
#define APART __attribute__((noinline))

struct pool {
    usize size;
    u32 count;
    os_unfair_lock lock;
    void *slots[8];
};

// Offsets as the driver has them: too large for an immediate of `add`.
struct device {
    char before[0x1a58];
    struct pool pool;
    struct pool second;
};

struct node {
    struct node *next;
    char rest[56];
};

struct list {
    os_unfair_lock lock;
    struct node *head;
};

struct block {
    usize early[4];
    void *owned[3];
    u32 mask;
};

#ifdef __OBJC__
__attribute__((objc_root_class)) @interface Object {
    void *isa;
}
- (void *)device;
@end
#endif
