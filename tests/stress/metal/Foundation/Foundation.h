// Stand-ins for what scripts/workloads/metal.m takes from Foundation, for a check of its
// syntax and types where there is no SDK. Written from the documented signatures.
#pragma once
typedef unsigned long NSUInteger;
typedef signed char BOOL;
#define nil ((id)0)

@protocol NSObject
@end

__attribute__((objc_root_class))
@interface NSObject <NSObject>
@end

@interface NSString : NSObject
@property(readonly) const char *UTF8String;
@end

// What the compiler makes of @"…" where no class is named for it.
@interface NSConstantString : NSString
@end

@interface NSError : NSObject
@property(readonly, copy) NSString *localizedDescription;
@end
