// Maps an arm64 Mach-O image on aarch64 Linux and runs one of its functions on a
// thread of its own, with a second thread at each point where the pool's lock is free.
//
//     loader IMAGE FUNCTION COUNT CELL=NAME...
//
// FUNCTION and each CELL are addresses in the image, in hexadecimal; a CELL is what a
// stub calls through, and gets the address of the function here that has the NAME.
// COUNT is how many blocks the pool holds at the beginning.
//
// With `free:ROUNDS` instead of COUNT nothing stops anywhere: one thread gives a block
// back and the other one looks, until each has done so many times at least (ROUNDS in
// hexadecimal). Written in the end are how often the block was given back, how often the
// other thread looked, and how often it found a block in the pool that the field still
// points to.
//
// The functions that drop the lock and free the block are stop points: the caller
// waits there until the second thread has looked. So nothing depends on speed. The
// second thread takes the lock and looks at what the pool or the allocator would hand
// out. Exit status: 0 if that was never a block that the object's field still points
// to, 1 if it was, 2 or more where something is wrong with the experiment.
//
// Freestanding: no C library for this target is needed.

typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned char u8;

static long call(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

enum { OPENAT = 56, CLOSE = 57, READ = 63, WRITE = 64, EXIT_GROUP = 94, FUTEX = 98, CLONE = 220, MMAP = 222 };

static void leave(int status) {
    call(EXIT_GROUP, status, 0, 0, 0, 0, 0);
    __builtin_trap();
}

static void *memory(u64 size) {
    // Anonymous and private; readable, writable and executable.
    long at = call(MMAP, 0, size, 7, 0x22, -1, 0);
    if (at < 0 && at > -4096) leave(3);
    return (void *)at;
}

// What the image's functions work on, as crates/oracles/shapes has it.
struct pool {
    u64 size;
    u32 count;
    u32 lock;
    void *slots[8];
};

struct device {
    u8 before[0x1a58];
    struct pool pool;
};

struct object {
    struct device *device;
    void *field;
    struct pool *by_pointer;
};

static struct device device;
static struct object object;
static u8 block[256];
static void *freed;
static int raced;

// Where nothing stops: whether it is so, whether it ended, and what was counted.
static int free_running;
static int ended;
static u64 looks, races;

// Which thread has its turn: the function's is 0, the second one's is 1.
static u32 turn;

static void wait_for(u32 wanted) {
    for (;;) {
        u32 now = __atomic_load_n(&turn, __ATOMIC_ACQUIRE);
        if (now == wanted) return;
        call(FUTEX, (long)&turn, 0, now, 0, 0, 0);
    }
}

static void give_turn(u32 to) {
    __atomic_store_n(&turn, to, __ATOMIC_RELEASE);
    call(FUTEX, (long)&turn, 1, 1, 0, 0, 0);
}

static void stop_point(void) {
    if (free_running) return;
    give_turn(1);
    wait_for(0);
}

// As the real lock: a thread that finds it taken sleeps, and the one that drops it then
// wakes a sleeper, after the lock is free.
static void take_freely(u32 *lock) {
    u32 free = 0;
    if (__atomic_compare_exchange_n(lock, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
    while (__atomic_exchange_n(lock, 2, __ATOMIC_ACQUIRE) != 0) call(FUTEX, (long)lock, 0, 2, 0, 0, 0);
}

static void take(u32 *lock) {
    if (free_running) return take_freely(lock);
    // Nothing else runs while a thread has its turn, so the lock must be free.
    if (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) != 0) leave(4);
}

static void drop(u32 *lock) {
    u32 before = __atomic_exchange_n(lock, 0, __ATOMIC_RELEASE);
    if (before == 2) call(FUTEX, (long)lock, 1, 1, 0, 0, 0);
    else if (before != 1) leave(5);
}

static void os_unfair_lock_unlock(u32 *lock) {
    drop(lock);
    stop_point();
}

static void free_block(void *at) {
    if (!at) return;
    freed = at;
    stop_point();
}

static void unexpected(void) {
    leave(6);
}

// Looks while it holds the lock, so that what the pool hands out then is handed out.
static int look_all_the_while(void *unused) {
    (void)unused;
    for (;; __atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED)) {
        struct pool *pool = &device.pool;
        take(&pool->lock);
        void *handed_out = pool->count ? pool->slots[(pool->count - 1) & 7] : 0;
        void *field = __atomic_load_n(&object.field, __ATOMIC_ACQUIRE);
        races += field && field == handed_out;
        drop(&pool->lock);
        if (__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) break;
    }
    __atomic_store_n(&ended, 2, __ATOMIC_RELEASE);
    for (;;) call(FUTEX, (long)&ended, 0, 2, 0, 0, 0);
}

// What a new object would be given: the last block of the pool, or the freed one.
static int second_thread(void *unused) {
    (void)unused;
    for (;;) {
        wait_for(1);
        struct pool *pool = &device.pool;
        take(&pool->lock);
        void *handed_out = pool->count ? pool->slots[(pool->count - 1) & 7] : 0;
        drop(&pool->lock);
        void *field = __atomic_load_n(&object.field, __ATOMIC_ACQUIRE);
        if (field && (field == handed_out || field == freed)) raced = 1;
        give_turn(0);
    }
}

static void start_second_thread(int (*second_thread)(void *)) {
    u64 size = 1 << 16;
    u64 stack = (u64)memory(size) + size;
    // The flags of a POSIX thread.
    register long x8 __asm__("x8") = CLONE;
    register long x0 __asm__("x0") = 0x50f00;
    register long x1 __asm__("x1") = (long)stack;
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = 0;
    register long x4 __asm__("x4") = 0;
    register long x9 __asm__("x9") = (long)second_thread;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "blr x9\n\t"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x9)
                     : "memory", "x30");
    if (x0 < 0) leave(7);
}

static char *decimal(char *end, u64 value) {
    do *--end = (char)('0' + value % 10);
    while (value /= 10);
    return end;
}

// Gives the block back again and again; before each time the object has it alone.
static void run_freely(void (*function)(struct object *), u64 rounds) {
    free_running = 1;
    start_second_thread(look_all_the_while);
    u64 given = 0;
    for (; given < rounds || __atomic_load_n(&looks, __ATOMIC_RELAXED) < rounds; given++) {
        take(&device.pool.lock);
        device.pool.count = 0;
        drop(&device.pool.lock);
        object.field = block;
        function(&object);
        if (object.field) leave(11);
    }
    __atomic_store_n(&ended, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) != 2) {}
    char text[64], *end = text + sizeof text, *start = end;
    *--start = '\n';
    start = decimal(start, races);
    *--start = ' ';
    start = decimal(start, looks);
    *--start = ' ';
    start = decimal(start, given);
    call(WRITE, 1, (long)start, end - start, 0, 0, 0);
    leave(0);
}

static int same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static u64 number(const char **text) {
    u64 value = 0;
    for (;; (*text)++) {
        char c = **text;
        if (c >= '0' && c <= '9') value = value << 4 | (u64)(c - '0');
        else if (c >= 'a' && c <= 'f') value = value << 4 | (u64)(c - 'a' + 10);
        else return value;
    }
}

static void copy(u8 *to, const u8 *from, u64 size) {
    for (u64 i = 0; i < size; i++) to[i] = from[i];
}

static u8 *read_file(const char *path) {
    u64 size = 1 << 20, length = 0;
    u8 *bytes = memory(size);
    long file = call(OPENAT, -100, (long)path, 0, 0, 0, 0);
    if (file < 0) leave(8);
    for (;;) {
        long got = call(READ, file, (long)(bytes + length), size - length, 0, 0, 0);
        if (got < 0) leave(8);
        if (got == 0) return bytes;
        length += (u64)got;
    }
}

// The segments at their addresses, which begin at 0 in a library.
static u8 *map(const u8 *file) {
    const u32 *header = (const u32 *)file;
    if (header[0] != 0xfeedfacf) leave(9);
    u8 *image = memory(1 << 22);
    const u8 *command = file + 32;
    for (u32 left = header[4]; left; left--) {
        const u32 *words = (const u32 *)command;
        if (words[0] == 0x19) {
            const u64 *segment = (const u64 *)(command + 24);
            u64 address = segment[0], offset = segment[2], size = segment[3];
            if (address + size > 1 << 22) leave(9);
            copy(image + address, file + offset, size);
        }
        command += words[1];
    }
    return image;
}

static void *named(const char *name) {
    if (same(name, "_os_unfair_lock_lock")) return (void *)take;
    if (same(name, "_os_unfair_lock_unlock")) return (void *)os_unfair_lock_unlock;
    if (same(name, "_free")) return (void *)free_block;
    return (void *)unexpected;
}

__attribute__((used)) static void start(long *stack) {
    long count = stack[0];
    const char **words = (const char **)(stack + 1);
    if (count < 4) leave(10);
    u8 *image = map(read_file(words[1]));
    const char *text = words[2];
    void (*function)(struct object *) = (void (*)(struct object *))(image + number(&text));
    text = words[3];
    u64 rounds = 0;
    if (text[0] == 'f' && text[1] == 'r' && text[4] == ':') {
        text += 5;
        rounds = number(&text);
    } else {
        device.pool.count = (u32)number(&text);
    }
    for (long i = 4; i < count; i++) {
        text = words[i];
        u64 cell = number(&text);
        *(void **)(image + cell) = named(text + 1);
    }
    // Enough for an emulator, which notices that code was written.
    __asm__ volatile("dsb ish\n\tisb" ::: "memory");
    object = (struct object){&device, block, &device.pool};
    if (rounds) run_freely(function, rounds);
    start_second_thread(second_thread);
    function(&object);
    // The block went somewhere, and the field is cleared in the end.
    u32 given = device.pool.count;
    int in_pool = given && device.pool.slots[(given - 1) & 7] == block;
    if (object.field || (!in_pool && freed != block)) leave(11);
    leave(raced);
}

__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tb start\n");

// What the compiler may call for the loops and assignments above.
void *memcpy(void *to, const void *from, u64 size) {
    u8 *out = to;
    const u8 *in = from;
    while (size--) *out++ = *in++;
    return to;
}

void *memset(void *to, int value, u64 size) {
    u8 *out = to;
    while (size--) *out++ = (u8)value;
    return to;
}
