/* SPDX-License-Identifier: MIT
 * Functions that the statically linked program has in place of those of libdl and libudev. dlopen refuses every
 * library, because a loaded library would bring a second C library into the process. hwloc asks udev for names of
 * disks; Debian has no static libudev, so the functions here report that there is none. */
#include <stddef.h>
#include <stdio.h>

struct udev;
struct udev_device;
void *__wrap_dlopen(const char *file, int flags);
char *__wrap_dlerror(void);
struct udev *udev_new(void);
struct udev *udev_unref(struct udev *udev);
struct udev_device *udev_device_new_from_subsystem_sysname(struct udev *udev, const char *subsystem, const char *name);
const char *udev_device_get_property_value(struct udev_device *device, const char *key);
struct udev_device *udev_device_unref(struct udev_device *device);

static _Thread_local char refusal[256];

void *__wrap_dlopen(const char *file, int flags)
{
    (void)flags;
    snprintf(refusal, sizeof refusal,
             "%s: this program is linked statically and loads no library; the one that is linked dynamically does",
             file ? file : "itself");
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
