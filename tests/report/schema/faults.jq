# Prints where a document breaks a schema of organ: `jq -rn --slurpfile schema SCHEMA --slurpfile document DOCUMENT -f faults.jq`. Knows the keywords
# that these schemas use.
def kind: if type == "number" then (if . == floor then "integer" else "number" end) else type end;
def is($types): kind as $kind | any($types[]; . == $kind or (. == "number" and $kind == "integer"));
def faults($s; $root; $at):
  . as $value
  | if $s["$ref"] then faults($root["$defs"][$s["$ref"] | sub("^#/\\$defs/"; "")]; $root; $at) else empty end,
    if $s.anyOf and all($s.anyOf[]; [. as $any | $value | faults($any; $root; $at)] != []) then "\($at): none of the forms" else empty end,
    if $s.type and (is([$s.type] | flatten) | not) then "\($at): is \(kind), not \($s.type | tostring)" else empty end,
    if $s.const and $value != $s.const then "\($at): is not \($s.const)" else empty end,
    if $s.enum and all($s.enum[]; . != $value) then "\($at): \($value | tojson) is none of \($s.enum | tojson)" else empty end,
    if $s.minimum and type == "number" and $value < $s.minimum then "\($at): \($value) is below \($s.minimum)" else empty end,
    if $s.pattern and type == "string" and (test($s.pattern) | not) then "\($at): \($value) has another form" else empty end,
    if type == "object" then
      ($s.required // [] | .[] | select(in($value) | not) | "\($at): lacks \(.)"),
      (keys_unsorted[] as $key
       | if $s.properties[$key] then $value[$key] | faults($s.properties[$key]; $root; "\($at).\($key)")
         elif $s.additionalProperties == false then "\($at): has \($key)"
         elif $s.additionalProperties | type == "object" then $value[$key] | faults($s.additionalProperties; $root; "\($at).\($key)")
         else empty end)
    elif type == "array" and $s.items then range(length) as $k | $value[$k] | faults($s.items; $root; "\($at)[\($k)]")
    else empty end;
$schema[0] as $s | $document[0] | faults($s; $s; "")
