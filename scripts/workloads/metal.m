// Compute passes from many threads, in Metal alone: the workload for a Mac without torch.
//
// Each thread makes command buffers of its own from one queue, encodes several compute
// passes and a copy into each, commits it, waits, and compares the result with the
// processor's. No two threads share a command buffer or an encoder, which is all that
// Metal asks of a program: where this crashes, it is not the program's doing. The passes
// of a buffer follow each other so closely that the driver may coalesce their encoders.
//
// `agxpatch stress --workload metal` compiles and runs it. By hand:
//
//     xcrun clang -fobjc-arc -O2 -framework Foundation -framework Metal -o metal metal.m
//     ./metal --threads 8 --iterations 100
//
// Its options and its last line are those of harness.py. Compiled as C (`cc -x c -pthread`)
// it makes the passes on the processor, which tests everything here but Metal.
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 1024, GROUP = 64, PASSES = 8, MAX_ERRORS = 256, MAX_TEXT = 256, SKIP = 77 };
static const float TOLERANCE = 1e-6f;

static struct {
    long threads, iterations, batch, permits;
    bool batched, check;
} options = {.threads = 8, .iterations = 100, .batch = 16};

// --- the passes -----------------------------------------------------------------------

// What a pass does to a value. Halving is exact, so both processors round once and alike.
static float step(float value) { return value * 0.5f + 1.0f; }

#ifdef __OBJC__
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

static id<MTLDevice> device;
static id<MTLCommandQueue> queue;
static id<MTLComputePipelineState> pipeline;

// Finds the GPU and compiles the kernel; the reason if that fails.
static bool open_device(char *name, char *reason) {
    @autoreleasepool {
        NSString *kernel = @"#include <metal_stdlib>\n"
                            "kernel void step(device float *values [[buffer(0)]],"
                            "                 uint index [[thread_position_in_grid]]) {"
                            "    values[index] = values[index] * 0.5f + 1.0f;"
                            "}";
        NSError *error = nil;
        device = MTLCreateSystemDefaultDevice();
        if (device == nil) {
            snprintf(reason, MAX_TEXT, "this Mac has no Metal device");
            return false;
        }
        snprintf(name, MAX_TEXT, "%s", device.name.UTF8String);
        id<MTLLibrary> library = [device newLibraryWithSource:kernel options:nil error:&error];
        id<MTLFunction> function = [library newFunctionWithName:@"step"];
        if (function != nil) {
            pipeline = [device newComputePipelineStateWithFunction:function error:&error];
        }
        queue = [device newCommandQueue];
        if (pipeline == nil || queue == nil) {
            const char *text = error.localizedDescription.UTF8String;
            snprintf(reason, MAX_TEXT, "the kernel cannot be made: %s", text ? text : "no reason given");
            return false;
        }
        return true;
    }
}

// Makes PASSES passes over `count` values in one command buffer.
static bool make_passes(float *values, size_t count, char *reason) {
    @autoreleasepool {
        size_t bytes = count * sizeof *values;
        id<MTLBuffer> buffer = [device newBufferWithBytes:values length:bytes options:MTLResourceStorageModeShared];
        id<MTLBuffer> copy = [device newBufferWithLength:bytes options:MTLResourceStorageModeShared];
        id<MTLCommandBuffer> commands = [queue commandBuffer];
        if (buffer == nil || copy == nil || commands == nil) {
            snprintf(reason, MAX_TEXT, "no command buffer, or no memory");
            return false;
        }
        for (int pass = 0; pass < PASSES; pass++) {
            id<MTLComputeCommandEncoder> encoder = [commands computeCommandEncoder];
            [encoder setComputePipelineState:pipeline];
            [encoder setBuffer:buffer offset:0 atIndex:0];
            [encoder dispatchThreadgroups:MTLSizeMake(count / GROUP, 1, 1)
                    threadsPerThreadgroup:MTLSizeMake(GROUP, 1, 1)];
            [encoder endEncoding];
        }
        id<MTLBlitCommandEncoder> blit = [commands blitCommandEncoder];
        [blit copyFromBuffer:buffer sourceOffset:0 toBuffer:copy destinationOffset:0 size:bytes];
        [blit endEncoding];
        [commands commit];
        [commands waitUntilCompleted];
        if (commands.status != MTLCommandBufferStatusCompleted) {
            const char *text = commands.error.localizedDescription.UTF8String;
            snprintf(reason, MAX_TEXT, "the command buffer failed: %s", text ? text : "no reason given");
            return false;
        }
        memcpy(values, copy.contents, bytes);
        return true;
    }
}

#else

// Tests put wrong passes here.
#ifndef PASS
#define PASS step
#endif

static bool open_device(char *name, char *reason) {
    (void)reason;
    snprintf(name, MAX_TEXT, "processor");
    return true;
}

static bool make_passes(float *values, size_t count, char *reason) {
    (void)reason;
    for (int pass = 0; pass < PASSES; pass++) {
        for (size_t index = 0; index < count; index++) values[index] = PASS(values[index]);
    }
    return true;
}

#endif

// --- the threads ----------------------------------------------------------------------

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long inside, arrived, operations, error_count;
static double worst, began = INFINITY, ended = -INFINITY;
static char errors[MAX_ERRORS][MAX_TEXT];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

// With --permits so many threads are inside an operation at once.
static void enter(void) {
    pthread_mutex_lock(&lock);
    while (options.permits != 0 && inside >= options.permits) pthread_cond_wait(&changed, &lock);
    inside++;
    pthread_mutex_unlock(&lock);
}

static void leave(void) {
    pthread_mutex_lock(&lock);
    inside--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void fail(long thread, const char *reason) {
    pthread_mutex_lock(&lock);
    if (error_count < MAX_ERRORS) {
        snprintf(errors[error_count], MAX_TEXT, "thread %ld: %.200s", thread, reason);
    }
    error_count++;
    pthread_mutex_unlock(&lock);
}

// `count` operations in one command buffer; the largest difference from the processor's.
static bool operate(long thread, long count, double *difference) {
    size_t size = (size_t)count * (size_t)options.batch * WIDTH;
    char reason[MAX_TEXT] = "out of memory";
    float *values = malloc(size * sizeof *values);
    bool done = values != NULL;
    for (size_t index = 0; done && index < size; index++) values[index] = (float)((index + (size_t)thread) % 997);
    enter();
    done = done && make_passes(values, size, reason);
    leave();
    for (size_t index = 0; done && index < size; index++) {
        float expected = (float)((index + (size_t)thread) % 997);
        for (int pass = 0; pass < PASSES; pass++) expected = step(expected);
        // Not fmax, which ignores a NaN.
        double off = fabs((double)values[index] - (double)expected);
        if (!(off <= *difference)) *difference = off;
    }
    free(values);
    if (!done) fail(thread, reason);
    return done;
}

static void wait_for_all(long threads) {
    pthread_mutex_lock(&lock);
    arrived++;
    pthread_cond_broadcast(&changed);
    while (arrived < threads) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

// One thread's work. With --batched there is one, which makes everyone's operations.
static void *work(void *argument) {
    long thread = (long)argument, threads = options.batched ? 1 : options.threads;
    long together = options.batched ? options.threads : 1, done = 0;
    double difference = 0;
    // The first call compiles and fills caches; it counts where it fails.
    bool well = operate(thread, together, &difference);
    wait_for_all(threads);
    double start = now();
    for (long iteration = 0; well && iteration < options.iterations; iteration++) {
        well = operate(thread, together, &difference);
        done += well ? together : 0;
    }
    double end = now();
    pthread_mutex_lock(&lock);
    operations += done;
    if (!(difference <= worst)) worst = difference;
    if (start < began) began = start;
    if (end > ended) ended = end;
    pthread_mutex_unlock(&lock);
    return NULL;
}

// --- options and result ---------------------------------------------------------------

static void print_string(const char *text) {
    putchar('"');
    for (; *text != 0; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') putchar('\\');
        if (byte < ' ') printf("\\u%04x", byte);
        else putchar(byte);
    }
    putchar('"');
}

static int report(const char *name) {
    long expected = options.threads * options.iterations;
    printf("{\"agxpatch_workload\": 1, \"workload\": \"metal\", \"device\": ");
    print_string(name);
    printf(", \"threads\": %ld, \"operations\": %ld, \"expected\": %ld", options.threads, operations, expected);
    printf(", \"seconds\": %.9f, \"errors\": [", ended - began);
    for (long index = 0; index < error_count && index < MAX_ERRORS; index++) {
        if (index > 0) printf(", ");
        print_string(errors[index]);
    }
    // JSON has no NaN: a difference that is not finite is none, which fails.
    if (isfinite(worst)) printf("], \"max_difference\": %g", worst);
    else printf("], \"max_difference\": null");
    printf(", \"tolerance\": %g}\n", (double)TOLERANCE);
    return error_count > 0 || operations != expected || !(worst <= (double)TOLERANCE);
}

static void read_options(int count, char **words) {
    struct { const char *name; long *value; } numbers[] = {
        {"--threads", &options.threads}, {"--iterations", &options.iterations},
        {"--batch", &options.batch}, {"--permits", &options.permits},
    };
    for (int word = 1; word < count; word++) {
        bool known = strcmp(words[word], "--device") == 0;
        if (strcmp(words[word], "--batched") == 0) { options.batched = true; continue; }
        if (strcmp(words[word], "--check") == 0) { options.check = true; continue; }
        char *end = NULL;
        for (size_t each = 0; each < sizeof numbers / sizeof *numbers; each++) {
            if (strcmp(words[word], numbers[each].name) != 0 || word + 1 == count) continue;
            *numbers[each].value = strtol(words[word + 1], &end, 10);
            known = *end == 0 && *numbers[each].value >= 1;
        }
        if (!known || word + 1 == count) {
            fprintf(stderr, "unknown option or value: %s\n", words[word]);
            exit(2);
        }
        word++;
    }
}

int main(int count, char **words) {
    char name[MAX_TEXT] = "", reason[MAX_TEXT] = "";
    read_options(count, words);
    if (!open_device(name, reason)) {
        fprintf(stderr, "%s\n", reason);
        return SKIP;
    }
    if (options.check) {
        puts(name);
        return 0;
    }
    long threads = options.batched ? 1 : options.threads;
    pthread_t *workers = calloc((size_t)threads, sizeof *workers);
    for (long thread = 0; workers != NULL && thread < threads; thread++) {
        if (pthread_create(&workers[thread], NULL, work, (void *)thread) != 0) {
            perror("pthread_create");
            return 1;
        }
    }
    for (long thread = 0; workers != NULL && thread < threads; thread++) pthread_join(workers[thread], NULL);
    free(workers);
    return report(name);
}
