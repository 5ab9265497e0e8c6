// Two fields in two pools, and a pool chosen at run time.
#include "shape.h"

@interface late_fields : Object { void *_impl; void *_framebuffer; struct device *_device; } @end
@implementation late_fields
- (void)twoFields {
    struct device *device = _device;
    void *block = _impl;
    if (block) {
        os_unfair_lock_lock(&device->pool.lock);
        if (device->pool.count < 8) {
            device->pool.slots[device->pool.count++] = block;
            block = 0;
        }
        os_unfair_lock_unlock(&device->pool.lock);
        free(block);
        _impl = 0;
    }
    void *buffer = _framebuffer;
    if (buffer) {
        os_unfair_lock_lock(&device->second.lock);
        if (device->second.count < 8) {
            device->second.slots[device->second.count++] = buffer;
            buffer = 0;
        }
        os_unfair_lock_unlock(&device->second.lock);
        free(buffer);
        _framebuffer = 0;
    }
}
- (void)onePoolTwoFields {
    struct pool *pool = &_device->pool;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 7) {
        pool->slots[pool->count++] = _impl;
        pool->slots[pool->count++] = _framebuffer;
    }
    os_unfair_lock_unlock(&pool->lock);
    _impl = 0;
    _framebuffer = 0;
}
- (void)chosenPool:(int)which {
    struct pool *pool = which ? &_device->second : &_device->pool;
    void *block = _impl;
    if (!block) return;
    os_unfair_lock_lock(&pool->lock);
    u32 count = pool->count;
    if (count > 7) {
        os_unfair_lock_unlock(&pool->lock);
        free(block);
    } else {
        pool->slots[count] = block;
        pool->count = count + 1;
        os_unfair_lock_unlock(&pool->lock);
    }
    _impl = 0;
}
- (void)oneOfTwo {
    struct device *device = _device;
    void *block = _impl, *buffer = _framebuffer;
    os_unfair_lock_lock(&device->pool.lock);
    device->pool.slots[device->pool.count++ & 7] = block;
    _impl = 0;
    os_unfair_lock_unlock(&device->pool.lock);
    os_unfair_lock_lock(&device->second.lock);
    device->second.slots[device->second.count++ & 7] = buffer;
    os_unfair_lock_unlock(&device->second.lock);
    _framebuffer = 0;
}
@end

@interface right_fields : Object { void *_impl; void *_framebuffer; struct device *_device; } @end
@implementation right_fields
- (void)twoFields {
    struct device *device = _device;
    void *block = _impl, *buffer = _framebuffer;
    os_unfair_lock_lock(&device->pool.lock);
    device->pool.slots[device->pool.count++ & 7] = block;
    _impl = 0;
    os_unfair_lock_unlock(&device->pool.lock);
    os_unfair_lock_lock(&device->second.lock);
    device->second.slots[device->second.count++ & 7] = buffer;
    _framebuffer = 0;
    os_unfair_lock_unlock(&device->second.lock);
}
- (void)chosenPool:(int)which {
    struct pool *pool = which ? &_device->second : &_device->pool;
    void *block = _impl;
    if (!block) return;
    os_unfair_lock_lock(&pool->lock);
    _impl = 0;
    u32 count = pool->count;
    if (count > 7) {
        os_unfair_lock_unlock(&pool->lock);
        free(block);
    } else {
        pool->slots[count] = block;
        pool->count = count + 1;
        os_unfair_lock_unlock(&pool->lock);
    }
}
@end
