// The block in a structure inside the object, which is cleared field by field or as a
// whole; two locks around the gift; and calls between the unlock and the clear.
#include "shape.h"

void bzero(void *, usize);
void note(u32);

struct memory {
    usize bytes;
    void *impl;
    struct {
        void *tail;
        u32 generation;
    } end;
};

APART static int keep(struct pool *pool, void *impl) {
    int kept = 0;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = impl;
        kept = 1;
    }
    os_unfair_lock_unlock(&pool->lock);
    return kept;
}

@interface late_structures : Object {
    struct memory _memory;
    struct device *_device;
}
@end

@implementation late_structures
- (void)inner {
    struct pool *pool = &_device->pool;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = _memory.end.tail;
        os_unfair_lock_unlock(&pool->lock);
    } else {
        os_unfair_lock_unlock(&pool->lock);
        free(_memory.end.tail);
    }
    _memory.end.tail = 0;
    _memory.end.generation++;
}

- (void)twoLocks {
    struct device *device = _device;
    os_unfair_lock_lock(&device->second.lock);
    os_unfair_lock_lock(&device->pool.lock);
    if (device->pool.count < 8) device->pool.slots[device->pool.count++] = _memory.impl;
    os_unfair_lock_unlock(&device->pool.lock);
    device->second.count++;
    os_unfair_lock_unlock(&device->second.lock);
    _memory.impl = 0;
}

- (void)keptOrFreed {
    if (!_memory.impl) return;
    if (!keep(&_device->pool, _memory.impl)) free(_memory.impl);
    _memory.impl = 0;
}

- (void)noted {
    struct pool *pool = &_device->pool;
    void *impl = _memory.impl;
    os_unfair_lock_lock(&pool->lock);
    u32 count = pool->count;
    if (count == 8) {
        os_unfair_lock_unlock(&pool->lock);
        free(impl);
    } else {
        pool->slots[count] = impl;
        pool->count = count + 1;
        os_unfair_lock_unlock(&pool->lock);
    }
    note(count);
    _memory.impl = 0;
}
@end

@interface right_structures : Object {
    struct memory _memory;
    struct device *_device;
}
@end

@implementation right_structures
- (void)whole {
    struct pool *pool = &_device->pool;
    void *impl = _memory.impl;
    os_unfair_lock_lock(&pool->lock);
    _memory = (struct memory){0};
    if (pool->count < 8) {
        pool->slots[pool->count++] = impl;
        impl = 0;
    }
    os_unfair_lock_unlock(&pool->lock);
    if (impl) free(impl);
}

- (void)filled {
    struct pool *pool = &_device->pool;
    void *impl = _memory.impl;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = impl;
        impl = 0;
    }
    bzero(&_memory, sizeof _memory);
    os_unfair_lock_unlock(&pool->lock);
    if (impl) free(impl);
}
@end
