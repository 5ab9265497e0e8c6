// The field is cleared together with others, by one call or by stores that cover several;
// and by an exchange whose outcome is not used.
#include "shape.h"

void bzero(void *, usize);
void *memset(void *, int, usize);

struct memory {
    u32 kind;
    void *impl;
    usize bytes;
    struct {
        void *tail;
        u32 generation;
    } end;
};

@interface late_filled : Object {
    struct memory _memory;
    void *_impl;
    struct device *_device;
}
@end

@implementation late_filled
- (void)zeroed {
    struct pool *pool = &_device->pool;
    void *impl = _memory.impl;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = impl;
        impl = 0;
    }
    os_unfair_lock_unlock(&pool->lock);
    if (impl) free(impl);
    bzero(&_memory, sizeof _memory);
}

- (void)set {
    struct pool *pool = &_device->pool;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) pool->slots[pool->count++] = _memory.end.tail;
    os_unfair_lock_unlock(&pool->lock);
    memset(&_memory.end, 0, sizeof _memory.end);
    elsewhere(pool);
}

- (void)whole {
    struct pool *pool = &_device->pool;
    void *impl = _memory.impl;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = impl;
        impl = 0;
    }
    os_unfair_lock_unlock(&pool->lock);
    if (impl) free(impl);
    _memory = (struct memory){0};
}

- (void)exchanged {
    struct pool *pool = &_device->pool;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) pool->slots[pool->count++] = _impl;
    os_unfair_lock_unlock(&pool->lock);
    __atomic_exchange_n(&_impl, (void *)0, __ATOMIC_ACQ_REL);
}
@end

@interface right_filled : Object {
    struct memory _memory;
    struct device *_device;
}
@end

@implementation right_filled
- (void)set {
    struct pool *pool = &_device->pool;
    void *tail = _memory.end.tail;
    os_unfair_lock_lock(&pool->lock);
    memset(&_memory.end, 0, sizeof _memory.end);
    if (pool->count < 8) pool->slots[pool->count++] = tail;
    os_unfair_lock_unlock(&pool->lock);
}
@end
