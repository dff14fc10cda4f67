/* SPDX-License-Identifier: MIT
 * Tests of machine/free_memory.c and stream/memory.c: free memory of machines and control groups whose files the tests
 * write, and the share of it that a run may use. */
#include "orchestrator/machine/free_memory.h"
#include "orchestrator/stream/memory.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MIB ((uint64_t)1 << 20)

static void set_up(void) { scratch_make(); }
static void tear_down(void) { scratch_remove(); }

/* Writes a file below the recorded root, and the folders above it. */
static void put(const char *path, const char *text)
{
    char whole[400];
    snprintf(whole, sizeof whole, "%s", scratch_path("root%s", path));
    for (char *at = strchr(whole + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(whole, 0777); /* spill fails if the folder is missing */
        *at = '/';
    }
    spill(whole, text, strlen(text));
}

static void put_machine(uint64_t mib)
{
    char text[200];
    snprintf(text, sizeof text, "MemTotal:       99999999 kB\nMemFree:             17 kB\nMemAvailable: %9llu kB\n",
             (unsigned long long)(mib * 1024));
    put("/proc/meminfo", text);
}

static organ_free_memory found(void)
{
    organ_free_memory free = {0};
    organ_error error = {0};
    ck_assert_msg(organ_free_memory_read(scratch_path("root"), &free, &error) == ORGAN_OK, "%s", error.message);
    return free;
}

static void must_be(uint64_t mib, const char *group)
{
    const organ_free_memory free = found();
    ck_assert_uint_eq(free.bytes, mib * MIB);
    ck_assert_str_eq(free.group, group);
}

static void must_fail(const char *word)
{
    organ_free_memory free = {0};
    organ_error error = {0};
    ck_assert_int_eq(organ_free_memory_read(scratch_path("root"), &free, &error), ORGAN_IO);
    ck_assert_msg(strstr(error.message, word) && strstr(error.message, "which --memory auto needs: give an amount"),
                  "%s", error.message);
}

#define MOUNT2 "36 23 0:31 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

static void put_version_2(const char *group)
{
    char text[200];
    snprintf(text, sizeof text, "0::%s\n", group);
    put_machine(9000);
    put("/proc/self/cgroup", text);
    put("/proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n" MOUNT2);
}

START_TEST(a_machine_without_groups)
{
    put_machine(1234);
    must_be(1234, "");
    put("/proc/self/cgroup", "");
    put("/proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw");
    must_be(1234, "");
}
END_TEST

START_TEST(the_least_limit_of_nested_groups)
{
    put_version_2("/user/job");
    put("/sys/fs/cgroup/user/job/memory.max", "max\n");
    put("/sys/fs/cgroup/user/job/memory.current", "1048576\n");
    must_be(9000, "");
    put("/sys/fs/cgroup/user/memory.max", "2147483648\n"); /* 2048 MiB, of which 48 are used */
    put("/sys/fs/cgroup/user/memory.current", "50331648\n");
    must_be(2000, "/user");
    put("/sys/fs/cgroup/user/job/memory.high", "1073741824\n"); /* 1024 MiB, of which 1 is used */
    must_be(1023, "/user/job");
    put("/sys/fs/cgroup/user/job/memory.max", "536870912\n");
    must_be(511, "/user/job");
    put("/sys/fs/cgroup/memory.max", "104857600\n");
    must_be(100, "/");
    put_machine(7);
    must_be(7, "");
}
END_TEST

START_TEST(page_cache_is_free)
{
    put_version_2("/job");
    put("/sys/fs/cgroup/job/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/job/memory.current", "1073741824\n");
    must_be(0, "/job");
    put("/sys/fs/cgroup/job/memory.stat", "anon 1\nfile 2\ninactive_anon 5\ninactive_file 104857600\n"
                                          "active_file 209715200\nunevictable 0\n");
    must_be(300, "/job");
}
END_TEST

START_TEST(groups_of_version_1)
{
    put_machine(9000);
    put("/proc/self/cgroup", "9:name=systemd:/x\n8:cpu,cpuacct:/x\n4:memory,pids:/slurm/job 7\n0::/\n");
    put("/proc/self/mountinfo", "30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
                                "31 30 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                "32 30 0:30 / /sys/fs/cgroup/the\\040memory rw,relatime - cgroup cgroup rw,memory\n"
                                "33 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/the memory/slurm/job 7/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/the memory/slurm/job 7/memory.usage_in_bytes", "500\n");
    must_be(9000, "");
    put("/sys/fs/cgroup/the memory/slurm/memory.limit_in_bytes", "4294967296\n");
    put("/sys/fs/cgroup/the memory/slurm/memory.usage_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/the memory/slurm/memory.stat",
        "inactive_file 7\nactive_file 7\ntotal_inactive_file 1048576\ntotal_active_file 2097152\n");
    must_be(3075, "/slurm");
}
END_TEST

/* A container sees its own group at the mount, and perhaps a path from outside. */
START_TEST(groups_of_a_container)
{
    put_machine(9000);
    put("/proc/self/cgroup", "4:memory:/docker/12ab\n");
    put("/proc/self/mountinfo", "32 30 0:30 /docker/12ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
    must_be(1024, "/");
    put("/proc/self/cgroup", "4:memory:/docker/12ab/inner\n");
    put("/sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "536870912\n");
    must_be(512, "/inner");
    put("/proc/self/cgroup", "4:memory:/docker/12abc\n");
    must_be(1024, "/");
}
END_TEST

START_TEST(unreadable_files)
{
    must_fail("/proc/meminfo: cannot be read");
    put("/proc/meminfo", "MemTotal: 5 kB\nMemFree: 5 kB\n");
    must_fail("/proc/meminfo: has no line MemAvailable");
    put_version_2("/job");
    put("/sys/fs/cgroup/job/memory.max/x", ""); /* a folder in place of the file */
    must_fail("/sys/fs/cgroup/job/memory.max: cannot be read");
}
END_TEST

/* ---- the share of a run ---- */

typedef struct run {
    organ_engine engine;
    organ_memory_share share;
} run;

static void begin(run *r, uint64_t mib)
{
    organ_error error = {0};
    *r = (run){.engine.memory = 1};
    put_machine(mib);
    ck_assert_int_eq(organ_memory_share_begin(&r->engine, &r->share, scratch_path("root"), &error), ORGAN_OK);
}

START_TEST(a_run_begins_with_the_usual_memory)
{
    run r;
    begin(&r, 9000);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 512 * MIB);
    ck_assert_uint_eq(r.share.ceiling, 4500 * MIB);
    begin(&r, 600);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 300 * MIB);
    begin(&r, 3);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 8 * MIB);
}
END_TEST

START_TEST(processes_and_jobs_divide_the_memory)
{
    run r;
    begin(&r, 9000);
    organ_memory_divide(&r.engine, 3, 0);
    ck_assert_uint_eq(r.share.ceiling, 1500 * MIB);
    organ_memory_divide(&r.engine, 3, 2000 * MIB);
    ck_assert_uint_eq(r.share.ceiling, 1500 * MIB);
    organ_memory_divide(&r.engine, 30, 100 * MIB);
    ck_assert_uint_eq(r.share.ceiling, 100 * MIB);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 100 * MIB);
    organ_memory_lower(&r.engine, 90 * MIB);
    organ_memory_lower(&r.engine, 95 * MIB);
    ck_assert_uint_eq(r.share.ceiling, 90 * MIB);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 90 * MIB);
}
END_TEST

static bool fits_from(void *context, uint64_t memory) { return memory >= *(const uint64_t *)context; }

START_TEST(a_plan_raises_the_memory)
{
    run r;
    organ_error error = {0};
    uint64_t least = 800 * MIB;
    begin(&r, 4000);
    const organ_engine copy = r.engine;
    organ_memory_prefer(&copy, 100 * MIB);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 512 * MIB);
    ck_assert_int_eq(organ_memory_require(&copy, fits_from, &least, &error, "work"), ORGAN_OK);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 800 * MIB);
    ck_assert_int_eq(organ_memory_claim(&copy, 900 * MIB, &error, "work"), ORGAN_OK);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 900 * MIB);
    organ_memory_prefer(&copy, 9000 * MIB);
    ck_assert_uint_eq(organ_engine_memory(&r.engine), 2000 * MIB);
    ck_assert_int_eq(error.status, ORGAN_OK);
}
END_TEST

START_TEST(refusals_say_what_the_ceiling_is)
{
    run r;
    organ_error error = {0};
    uint64_t least = 2001 * MIB;
    begin(&r, 4000);
    ck_assert_int_eq(organ_memory_require(&r.engine, fits_from, &least, &error, "%d layers", 3), ORGAN_USAGE);
    ck_assert_str_eq(error.message,
                     "--memory auto, at most 2000M, half of the memory that this machine has free, is too "
                     "little for 3 layers; --memory 2001M is enough");
    ck_assert_uint_eq(organ_memory_named(&error), least);
    put_version_2("/user/job");
    put("/sys/fs/cgroup/user/memory.max", "1073741824\n");
    error = (organ_error){0};
    ck_assert_int_eq(organ_memory_share_begin(&r.engine, &r.share, scratch_path("root"), &error), ORGAN_OK);
    organ_memory_divide(&r.engine, 4, 0);
    ck_assert_int_eq(organ_memory_claim(&r.engine, 129 * MIB, &error, "work"), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "--memory auto, at most 128M, half of the memory that the control group /user has "
                                    "free for each of 4 processes, is too little for work; --memory 129M is enough");
    organ_memory_divide(&r.engine, 1, 64 * MIB);
    error = (organ_error){0};
    ck_assert_int_eq(organ_memory_claim(&r.engine, 65 * MIB, &error, "work"), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "--memory auto, at most 64M for a job of this server, is too little for work; "
                                    "--memory 65M is enough");
}
END_TEST

START_TEST(an_amount_is_a_hard_limit)
{
    run r;
    organ_error error = {0};
    begin(&r, 9000);
    organ_engine engine = r.engine;
    engine.memory = 100 * MIB;
    organ_memory_prefer(&engine, 200 * MIB);
    organ_memory_divide(&engine, 7, 0);
    organ_memory_lower(&engine, 9 * MIB);
    ck_assert_uint_eq(organ_engine_memory(&engine), 100 * MIB);
    ck_assert_uint_eq(r.share.ceiling, 4500 * MIB);
    ck_assert_int_eq(organ_memory_claim(&engine, 100 * MIB, &error, "work"), ORGAN_OK);
    ck_assert_int_eq(organ_memory_claim(&engine, 101 * MIB, &error, "work"), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "--memory 100M is too little for work; --memory 101M is enough");
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"free",
         {a_machine_without_groups, the_least_limit_of_nested_groups, page_cache_is_free, groups_of_version_1,
          groups_of_a_container, unreadable_files}},
        {"share",
         {a_run_begins_with_the_usual_memory, processes_and_jobs_divide_the_memory, a_plan_raises_the_memory,
          refusals_say_what_the_ceiling_is, an_amount_is_a_hard_limit}}};
    Suite *const suites[] = {suite_of("free_memory", cases, 2, set_up, tear_down), NULL};
    return run_suites(suites);
}
