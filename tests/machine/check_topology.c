/* SPDX-License-Identifier: MIT
 * Tests of machines recorded as XML: places, nodes without memory, kinds of core, unused cores, malformed records. */
#include <organ/machine.h>
#include "tests/machine/check_topology.h"
#include "tests/kit/scratch_model.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX          64

static organ_topology *recorded(const char *path)
{
    organ_error error = {0};
    organ_topology *topology = NULL;
    ck_assert_msg(organ_topology_import(path, &topology, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(!organ_topology_is_this_machine(topology));
    return topology;
}

static void ck_absent(const organ_topology *topology, organ_absence why, const char *expected)
{
    char *const list = organ_topology_absent(topology, why);
    ck_assert_str_eq(list, expected);
    free(list);
}

/* Expected for each machine: workers for every core, the first of them, and the CPUs that 5 workers leave free. */
static const struct {
    const char *name;
    size_t cores, nodes, kinds;
    organ_place first[8];
    unsigned node_os[4];
    const char *empty, *idle, *slower, *siblings;
} machines[] = {
    {"2x24",
     48,
     2,
     1,
     {{0, 0}, {1, 24}, {0, 1}, {1, 25}, {0, 2}, {1, 26}, {0, 3}, {1, 27}},
     {0, 1},
     "",
     "3-23,26-47",
     "",
     ""},
    {"4x12",
     48,
     4,
     1,
     {{0, 0}, {1, 12}, {2, 24}, {3, 36}, {0, 1}, {1, 13}, {2, 25}, {3, 37}},
     {0, 1, 2, 3},
     "",
     "2-11,13-23,25-35,37-47",
     "",
     ""},
    /* Node 2 has no memory: its cores use node 3, the nearest, which then has the cores of both. */
    {"no_memory",
     16,
     3,
     1,
     {{0, 0}, {1, 4}, {2, 8}, {0, 1}, {1, 5}, {2, 9}, {0, 2}, {1, 6}},
     {0, 1, 3},
     "2",
     "2-3,6-7,9-15",
     "",
     ""},
    {"hybrid", 6, 1, 2, {{0, 0}, {0, 2}, {0, 4}, {0, 5}, {0, 6}, {0, 7}, {0, 1}, {0, 3}}, {0}, "", "", "7", "1,3"},
};

START_TEST(recorded_machines_have_their_plans)
{
    char path[64];
    organ_place places[MAX];
    snprintf(path, sizeof path, "fixtures/topologies/%s.xml", machines[_i].name);
    organ_topology *const topology = recorded(path);
    ck_assert_uint_eq(organ_topology_cores(topology), machines[_i].cores);
    ck_assert_uint_eq(organ_topology_nodes(topology), machines[_i].nodes);
    ck_assert_uint_eq(organ_topology_kinds(topology), machines[_i].kinds);
    organ_topology_place(topology, MAX, places);
    for (size_t k = 0; k < COUNT(machines[_i].first); k++)
        ck_assert_msg(places[k].node == machines[_i].first[k].node && places[k].pu == machines[_i].first[k].pu,
                      "%s: worker %zu is on %u:%u", machines[_i].name, k, places[k].node, places[k].pu);
    for (unsigned k = 0; k < machines[_i].nodes; k++) {
        ck_assert_uint_eq(organ_topology_node(topology, k).os, machines[_i].node_os[k]);
        ck_assert_uint_gt(organ_topology_node(topology, k).bytes, 100 << 20);
    }
    ck_absent(topology, ORGAN_NODE_EMPTY, machines[_i].empty);
    ck_absent(topology, ORGAN_CPU_OFFLINE, "");
    char *cores, *slower, *siblings;
    ck_assert(organ_topology_idle(topology, 5, &cores, &slower, &siblings));
    ck_assert_str_eq(cores, machines[_i].idle);
    ck_assert_str_eq(slower, machines[_i].slower);
    ck_assert_str_eq(siblings, machines[_i].siblings);
    free(cores);
    free(slower);
    free(siblings);
    organ_topology_destroy(topology);
}
END_TEST

START_TEST(cores_of_an_empty_node_go_to_the_nearest)
{
    organ_topology *const topology = recorded("fixtures/topologies/no_memory.xml");
    for (unsigned pu = 0; pu < 16; pu++)
        ck_assert_int_eq(organ_topology_pu(topology, pu).near, pu < 8 || pu >= 12);
    ck_assert_uint_eq(organ_topology_node(topology, 2).cores, 8);
    organ_topology_destroy(topology);
}
END_TEST

/* Returns the text of a recorded machine with one part changed. */
static char *changed(const char *from, const char *to)
{
    static char text[1 << 16];
    char whole[1 << 15];
    FILE *const file = fopen("fixtures/topologies/hybrid.xml", "r");
    const size_t length = fread(whole, 1, sizeof whole - 1, file);
    fclose(file);
    whole[length] = '\0';
    size_t used = 0;
    const char *at = whole, *next;
    for (; (next = strstr(at, from)); at = next + strlen(from))
        used += (size_t)snprintf(text + used, sizeof text - used, "%.*s%s", (int)(next - at), at, to);
    ck_assert_msg(at != whole, "'%s' is not in the record", from);
    snprintf(text + used, sizeof text - used, "%s", at);
    return text;
}

START_TEST(what_the_cpuset_forbids_is_told)
{
    const char *const text = changed("allowed_cpuset=\"0x000000ff\"", "allowed_cpuset=\"0x000000f3\"");
    scratch_text("machine.xml", text);
    organ_topology *const topology = recorded(scratch_path("machine.xml"));
    ck_assert_uint_eq(organ_topology_cores(topology), 5);
    ck_absent(topology, ORGAN_CPU_FORBIDDEN, "2-3");
    organ_topology_destroy(topology);
}
END_TEST

START_TEST(offline_cpus_are_told)
{
    const char *const text = changed(" complete_cpuset=\"0x000000ff\"", " complete_cpuset=\"0x00000fff\"");
    scratch_text("machine.xml", text);
    organ_topology *const topology = recorded(scratch_path("machine.xml"));
    ck_assert_uint_eq(organ_topology_cores(topology), 6);
    ck_absent(topology, ORGAN_CPU_OFFLINE, "8-11");
    organ_topology_destroy(topology);
}
END_TEST

/* A kind of cores without usable cores does not count: the slow cores are then the fastest. */
START_TEST(kinds_without_cores_do_not_count)
{
    const char *const text = changed("allowed_cpuset=\"0x000000ff\"", "allowed_cpuset=\"0x000000f0\"");
    scratch_text("machine.xml", text);
    organ_topology *const topology = recorded(scratch_path("machine.xml"));
    ck_assert_uint_eq(organ_topology_kinds(topology), 1);
    ck_assert_uint_eq(organ_topology_pu(topology, 4).kind, 0);
    organ_topology_destroy(topology);
}
END_TEST

static void ck_refused(const char *path, organ_status status, const char *says)
{
    organ_error error = {0};
    organ_topology *topology = NULL;
    ck_assert_msg(organ_topology_import(path, &topology, &error) == status, "status %d: %s", (int)error.status,
                  error.message);
    ck_assert_ptr_null(topology);
    ck_assert_msg(strstr(error.message, says), "%s", error.message);
}

START_TEST(records_that_are_none_are_refused)
{
    static const struct {
        const char *from, *to, *says;
    } rows[] = {
        {"<?xml", "{\"a\": 1} <?xml", "is not a topology recorded by hwloc"},
        {"</topology>", "", "is not a topology recorded by hwloc"},
        {"type=\"Core\"", "type=\"Nonsense\"", "is not a topology recorded by hwloc"},
        {"type=\"PU\"", "type=\"Core\"", "has no usable CPU"},
        {"allowed_cpuset=\"0x000000ff\"", "allowed_cpuset=\"0x0\"", "has no usable CPU"},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        const char *const text = changed(rows[k].from, rows[k].to);
        scratch_text("machine.xml", text);
        ck_refused(scratch_path("machine.xml"), ORGAN_BAD_INPUT, rows[k].says);
    }
    scratch_text("machine.xml", "");
    ck_refused(scratch_path("machine.xml"), ORGAN_BAD_INPUT, "is not a topology recorded by hwloc");
    ck_refused(scratch_path("nowhere.xml"), ORGAN_IO, "nowhere.xml");
    ck_refused("fixtures/topologies", ORGAN_BAD_INPUT, "directory");
}
END_TEST

TCase *topology_tests(void)
{
    TCase *const tests = tcase_create("recorded machines");
    setenv("HWLOC_HIDE_ERRORS", "2", 0);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_add_loop_test(tests, recorded_machines_have_their_plans, 0, (int)COUNT(machines));
    tcase_add_test(tests, cores_of_an_empty_node_go_to_the_nearest);
    tcase_add_test(tests, what_the_cpuset_forbids_is_told);
    tcase_add_test(tests, offline_cpus_are_told);
    tcase_add_test(tests, kinds_without_cores_do_not_count);
    tcase_add_test(tests, records_that_are_none_are_refused);
    return tests;
}
