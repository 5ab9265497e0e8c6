// The driver's own logic: two tests, a destructor on the block before the lock,
// a reload, and a pool of eight.
#include "shape.h"

struct block_owner;
void destroy_owned(void *);

static inline void destroy_block(struct block *block) {
    for (u32 mask = block->mask; mask; mask &= mask - 1)
        destroy_owned((void *)(usize)__builtin_ctz(mask));
    for (int i = 0; i < 3; i++)
        if (block->owned[i]) free(block->owned[i]);
}

APART static void destroy_block_apart(struct block *block) {
    destroy_block(block);
    block->mask = 0;
}

@interface late_driver : Object { struct block *_impl; } @end
@implementation late_driver
- (void)destroyImplInlined {
    if (!_impl) return;
    struct device *device = *(struct device **)((char *)[self device] + 808);
    destroy_block(_impl);
    struct block *block = *(struct block *volatile *)&_impl;
    if (block) {
        os_unfair_lock_lock(&device->pool.lock);
        u32 count = device->pool.count;
        if (count > 7) {
            os_unfair_lock_unlock(&device->pool.lock);
            free(block);
        } else {
            device->pool.count = count + 1;
            device->pool.slots[count] = block;
            os_unfair_lock_unlock(&device->pool.lock);
        }
    }
    _impl = 0;
}
- (void)destroyImplCalled {
    if (!_impl) return;
    struct device *device = *(struct device **)((char *)[self device] + 848);
    destroy_block_apart(_impl);
    struct block *block = _impl;
    if (block) {
        os_unfair_lock_lock(&device->pool.lock);
        u32 count = device->pool.count;
        if (count > 7) {
            os_unfair_lock_unlock(&device->pool.lock);
            free(block);
        } else {
            device->pool.count = count + 1;
            device->pool.slots[count] = block;
            os_unfair_lock_unlock(&device->pool.lock);
        }
    }
    _impl = 0;
}
@end

@interface right_driver : Object { struct block *_impl; } @end
@implementation right_driver
- (void)destroyImplInlined {
    if (!_impl) return;
    struct device *device = *(struct device **)((char *)[self device] + 808);
    destroy_block(_impl);
    struct block *block = _impl;
    if (block) {
        os_unfair_lock_lock(&device->pool.lock);
        _impl = 0;
        u32 count = device->pool.count;
        if (count > 7) {
            os_unfair_lock_unlock(&device->pool.lock);
            free(block);
        } else {
            device->pool.count = count + 1;
            device->pool.slots[count] = block;
            os_unfair_lock_unlock(&device->pool.lock);
        }
    }
}
- (void)destroyImplCalled {
    if (!_impl) return;
    struct device *device = *(struct device **)((char *)[self device] + 848);
    destroy_block_apart(_impl);
    struct block *block = _impl;
    os_unfair_lock_lock(&device->pool.lock);
    u32 count = device->pool.count;
    int full = count > 7;
    if (!full) {
        device->pool.count = count + 1;
        device->pool.slots[count] = block;
    }
    _impl = 0;
    os_unfair_lock_unlock(&device->pool.lock);
    if (full) free(block);
}
@end
