// The example of docs/signatures.md: a freelist whose owner's field is cleared after
// the lock that guards the list is dropped, in code of our own.

typedef struct { unsigned word; } lock_t;
extern void os_unfair_lock_lock(lock_t *);
extern void os_unfair_lock_unlock(lock_t *);
extern void free(void *);

static struct {
    lock_t lock;
    unsigned count;
    void *slots[4];
} pool;

struct owner {
    long serial;
    void *block;
};

void recycle_release(struct owner *owner)
{
    void *block = owner->block;
    os_unfair_lock_lock(&pool.lock);
    if (pool.count < 4) {
        pool.slots[pool.count++] = block;
        os_unfair_lock_unlock(&pool.lock);
    } else {
        os_unfair_lock_unlock(&pool.lock);
        free(block);
    }
    owner->block = 0;
}

// Does nothing of the kind, for comparison.
long recycle_serial(struct owner *owner)
{
    return owner->serial++;
}
