/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/schema/schema_text.h"
#include "tests/report/schema/schema_cases.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char common[] = "Parts\n\n$ends  members\n  first  count\n  last  count\n$loop  members\n  &loop\n";

static void check_expanded(const char *text, const char *wanted)
{
    organ_error error = {0};
    json_t *const schema = organ_schema_expand(NULL, text, common, &error);
    ck_assert_msg(schema, "%s", error.message);
    char *const found = json_dumps(schema, JSON_COMPACT);
    ck_assert_str_eq(found, wanted);
    free(found);
    json_decref(schema);
}

START_TEST(members_of_a_part_are_those_of_an_object)
{
    static const char text[] = "A title\n\n&own\nwhole  object &ends  Both.\n  [last]  flag  Changed.\n"
                               "rows  list of object\n  &ends\n  more  text\n$own  members\n  [name]  text?\n"
                               "  in  object\n    &ends\n$part  object &own\n";
    static const char wanted[] =
        "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"A title\",\"type\":\"object\","
        "\"properties\":{\"name\":{\"type\":[\"string\",\"null\"]},"
        "\"in\":{\"type\":\"object\",\"properties\":{\"first\":{\"type\":\"integer\",\"minimum\":0},"
        "\"last\":{\"type\":\"integer\",\"minimum\":0}},\"required\":[\"first\",\"last\"],"
        "\"additionalProperties\":false},"
        "\"whole\":{\"description\":\"Both.\",\"type\":\"object\",\"properties\":{"
        "\"first\":{\"type\":\"integer\",\"minimum\":0},\"last\":{\"description\":\"Changed.\",\"type\":\"boolean\"}},"
        "\"required\":[\"first\",\"last\"],\"additionalProperties\":false},"
        "\"rows\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
        "\"first\":{\"type\":\"integer\",\"minimum\":0},\"last\":{\"type\":\"integer\",\"minimum\":0},"
        "\"more\":{\"type\":\"string\"}},\"required\":[\"first\",\"last\",\"more\"],\"additionalProperties\":false}}},"
        "\"required\":[\"in\",\"whole\",\"rows\"],\"additionalProperties\":false,"
        "\"$defs\":{\"part\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":[\"string\",\"null\"]},"
        "\"in\":{\"type\":\"object\",\"properties\":{\"first\":{\"type\":\"integer\",\"minimum\":0},"
        "\"last\":{\"type\":\"integer\",\"minimum\":0}},\"required\":[\"first\",\"last\"],"
        "\"additionalProperties\":false}},\"required\":[\"in\"],\"additionalProperties\":false}}}";
    check_expanded(text, wanted);
}
END_TEST

START_TEST(a_text_becomes_a_schema)
{
    static const char text[] =
        "A title\n\nname  text?  Its name.\n[rows]  list? of object\n  kind  text \"a\"|\"b|c\"\n"
        "  [more]  map  By name.\n    (others)  @own\n  which  either?\n    |  =3\n    |  number|text\n"
        "last  @#part?\n$part  object...\n  all  list of any\n";
    static const char wanted[] =
        "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"A title\",\"type\":\"object\","
        "\"properties\":{\"name\":{\"description\":\"Its name.\",\"type\":[\"string\",\"null\"]},"
        "\"rows\":{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"object\",\"properties\":{"
        "\"kind\":{\"type\":\"string\",\"enum\":[\"a\",\"b|c\"]},"
        "\"more\":{\"description\":\"By "
        "name.\",\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"common.json#/$defs/own\"}},"
        "\"which\":{\"anyOf\":[{\"const\":3},{\"type\":[\"number\",\"string\"]},{\"type\":\"null\"}]}},"
        "\"required\":[\"kind\",\"which\"],\"additionalProperties\":false}},"
        "\"last\":{\"anyOf\":[{\"$ref\":\"#/$defs/part\"},{\"type\":\"null\"}]}},"
        "\"required\":[\"name\",\"last\"],\"additionalProperties\":false,"
        "\"$defs\":{\"part\":{\"type\":\"object\",\"properties\":{\"all\":{\"type\":\"array\",\"items\":{}}},"
        "\"required\":[\"all\"],\"additionalProperties\":true}}}";
    check_expanded(text, wanted);
}
END_TEST

START_TEST(malformed_texts_of_schemas_are_refused)
{
    static const char *const texts[][2] = {{"name  txt  A name.\n", "line 3: unknown kind 'txt'"},
                                           {"name  text??\n", "line 3: unknown kind"},
                                           {"name  list count\n", "line 3: a list of what: ' count'"},
                                           {"name  =\"a\n", "line 3: no value"},
                                           {"name  \"a\"|b\n", "line 3: no value"},
                                           {"$part  text\nname  text\n", "line 4: unexpected line 'name'"},
                                           {"name\n", "line 3: unknown kind ''"},
                                           {"&part\n$part  text\n", "line 3: unknown part 'part'"},
                                           {"name  object &nothing\n", "line 3: unknown part 'nothing'"},
                                           {"&loop\n", "a part that contains itself: 'loop'"}};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        char text[200];
        organ_error error = {0};
        snprintf(text, sizeof text, "A title\n\n%s", texts[k][0]);
        ck_assert_ptr_null(organ_schema_expand(NULL, text, common, &error));
        ck_assert_msg(error.status == ORGAN_BAD_INPUT && strstr(error.message, texts[k][1]), "%s: %s", texts[k][0],
                      error.message);
    }
}
END_TEST

TCase *schema_cases(void)
{
    TCase *const cases = tcase_create("schemas");
    tcase_add_test(cases, a_text_becomes_a_schema);
    tcase_add_test(cases, members_of_a_part_are_those_of_an_object);
    tcase_add_test(cases, malformed_texts_of_schemas_are_refused);
    return cases;
}
