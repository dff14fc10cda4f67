/* SPDX-License-Identifier: MIT
 * Functions that the statically linked program has in place of those of libdl and libudev. dlopen finds libcurl, which
 * is linked, and refuses every other library, because a loaded library would bring a second C library into the
 * process; so does the C library's own loader, which looks for modules that /etc/nsswitch.conf names (those for
 * files and DNS are linked). hwloc asks udev for names of disks; Debian has no static libudev, so the functions here
 * report that there is none. */
#include "formats/remote/http_request.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct udev;
struct udev_device;
void *__wrap_dlopen(const char *file, int flags);
void *__wrap_dlsym(void *library, const char *name);
char *__wrap_dlerror(void);
void *__wrap___libc_dlopen_mode(const char *file, int flags);
struct udev *udev_new(void);
struct udev *udev_unref(struct udev *udev);
struct udev_device *udev_device_new_from_subsystem_sysname(struct udev *udev, const char *subsystem, const char *name);
const char *udev_device_get_property_value(struct udev_device *device, const char *key);
struct udev_device *udev_device_unref(struct udev_device *device);

static _Thread_local char refusal[256];

#define ROW(symbol, member) {#symbol, (void *)symbol},
static const struct {
    const char *name;
    void *function;
} curl_functions[] = {ORGAN_CURL_FUNCTIONS(ROW)};

void *__wrap_dlopen(const char *file, int flags)
{
    (void)flags;
    if (file && strcmp(file, "libcurl.so.4") == 0)
        return (void *)curl_functions;
    snprintf(refusal, sizeof refusal,
             "%s: this program is linked statically and loads no library; the one that is linked dynamically does",
             file ? file : "itself");
    return NULL;
}

void *__wrap_dlsym(void *library, const char *name)
{
    for (size_t k = 0; library == curl_functions && k < sizeof curl_functions / sizeof *curl_functions; k++)
        if (strcmp(curl_functions[k].name, name) == 0)
            return curl_functions[k].function;
    return NULL;
}

void *__wrap___libc_dlopen_mode(const char *file, int flags)
{
    (void)file, (void)flags;
    return NULL;
}

char *__wrap_dlerror(void) { return refusal[0] ? refusal : NULL; }

struct udev *udev_new(void) { return NULL; }
struct udev *udev_unref(struct udev *udev) { return udev; }
struct udev_device *udev_device_new_from_subsystem_sysname(struct udev *udev, const char *subsystem, const char *name)
{
    (void)udev, (void)subsystem, (void)name;
    return NULL;
}
const char *udev_device_get_property_value(struct udev_device *device, const char *key)
{
    (void)device, (void)key;
    return NULL;
}
struct udev_device *udev_device_unref(struct udev_device *device) { return device; }
