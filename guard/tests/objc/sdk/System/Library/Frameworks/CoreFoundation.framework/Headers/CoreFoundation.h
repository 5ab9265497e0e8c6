#pragma once
typedef const void *CFTypeRef, *CFPropertyListRef;
typedef const struct string *CFStringRef;
typedef const struct allocator *CFAllocatorRef;
typedef const struct boolean *CFBooleanRef;
typedef unsigned char Boolean;
#define kCFStringEncodingUTF8 0x08000100
extern const CFBooleanRef kCFBooleanTrue;
CFStringRef CFStringCreateWithCString(CFAllocatorRef, const char *, unsigned);
Boolean CFPreferencesGetAppBooleanValue(CFStringRef, CFStringRef, Boolean *);
CFPropertyListRef CFPreferencesCopyAppValue(CFStringRef, CFStringRef);
Boolean CFEqual(CFTypeRef, CFTypeRef);
