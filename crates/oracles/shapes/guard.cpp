// C++: a guard object, a method of a class, and the exception tables that come
// with them.
#include "shape.h"

namespace {
struct Guard {
    os_unfair_lock *lock;
    explicit Guard(os_unfair_lock *l) : lock(l) { os_unfair_lock_lock(lock); }
    ~Guard() { os_unfair_lock_unlock(lock); }
};

struct Pool : pool {
    bool push(void *block) {
        Guard guard(&lock);
        if (count > 7) return false;
        slots[count++] = block;
        return true;
    }
    void append(void *block) {
        Guard guard(&lock);
        elsewhere(slots);
        slots[count++ & 7] = block;
    }
};
}

struct late_guard {
    Pool *pool;
    void *impl;
    void scoped();
    void pushed();
    void throwing();
};

KEPT void late_guard::scoped() {
    void *block = impl;
    bool full;
    {
        Guard guard(&pool->lock);
        full = pool->count > 7;
        if (!full) pool->slots[pool->count++] = block;
    }
    if (full) free(block);
    impl = nullptr;
}

KEPT void late_guard::pushed() {
    if (!impl) return;
    if (!pool->push(impl)) free(impl);
    impl = nullptr;
}

KEPT void late_guard::throwing() {
    pool->append(impl);
    impl = nullptr;
}

struct right_guard {
    Pool *pool;
    void *impl;
    void scoped();
    void throwing();
};

KEPT void right_guard::scoped() {
    void *block = impl;
    bool full;
    {
        Guard guard(&pool->lock);
        full = pool->count > 7;
        if (!full) pool->slots[pool->count++] = block;
        impl = nullptr;
    }
    if (full) free(block);
}

KEPT void right_guard::throwing() {
    Guard guard(&pool->lock);
    elsewhere(pool);
    pool->slots[pool->count++ & 7] = impl;
    impl = nullptr;
}
