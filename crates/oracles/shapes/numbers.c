// Numbers that are stored under the lock: the block's place in an array gives it back, which
// the finder does not follow; a counter does not.
#include "shape.h"

struct indexed {
    os_unfair_lock lock;
    int first;
    char *base;
    int next[64];
    usize bytes;
};

struct user {
    struct indexed *indexed;
    void *impl;
    usize size;
};

KEPT void unclear_by_index(struct user *user) {
    struct indexed *indexed = user->indexed;
    int place = (int)(((char *)user->impl - indexed->base) / 256);
    os_unfair_lock_lock(&indexed->lock);
    indexed->next[place] = indexed->first;
    indexed->first = place;
    os_unfair_lock_unlock(&indexed->lock);
    user->impl = 0;
}

KEPT void nopool_counted(struct user *user) {
    struct indexed *indexed = user->indexed;
    os_unfair_lock_lock(&indexed->lock);
    indexed->bytes -= *(u32 *)user->impl;
    os_unfair_lock_unlock(&indexed->lock);
    free(user->impl);
    user->impl = 0;
}
