/* grammar_schema.c - JSON schemas (draft 2020-12, the part that grammar.h lists) to expressions. */
#include <inttypes.h>
#include <string.h>

#include "io/grammar_parts.h"

enum { ANY, OBJECT, ARRAY, STRING, INTEGER, NUMBER, BOOLEAN, NOTHING, KINDS };
enum { ALL_KINDS = (1 << KINDS) - 1, DIGITS = 18, MOST_COUNT = 1 << 24, PROPERTIES = 1024 };
static const char *const kind_name[] = { "any", "object", "array", "string", "integer", "number", "boolean", "null" };

typedef struct {
    gx_book b;
    json_value root;
    vm_error *e;
} schema;

static int32_t text(schema *s, const char *t) { return gx_literal(&s->b, t, strlen(t)); }

/* The members of a list that is made here, of which any or all are meant. */
static int32_t list(schema *s, gx_kind kind, gx_items *l, bool ok) {
    int32_t x = ok ? gx_list(&s->b, kind, l->x, l->n) : -1;
    if (x < 0) vm_nomem(s->e, (size_t)l->n * sizeof *l->x, "a schema");
    vm_free(l->x);
    return x;
}

/* --- words of the language ---------------------------------------------------------------------------------------- */
typedef struct {
    const char *name;
    int kinds; /* of types it is for; 0: says nothing about the text */
} keyword;
static const keyword keywords[] = {
    { "type", ALL_KINDS }, { "enum", ALL_KINDS }, { "const", ALL_KINDS }, { "$ref", ALL_KINDS },
    { "anyOf", ALL_KINDS }, { "oneOf", ALL_KINDS }, { "allOf", ALL_KINDS },
    { "properties", 1 << OBJECT }, { "required", 1 << OBJECT }, { "additionalProperties", 1 << OBJECT },
    { "items", 1 << ARRAY }, { "minItems", 1 << ARRAY }, { "maxItems", 1 << ARRAY }, { "uniqueItems", 1 << ARRAY },
    { "minLength", 1 << STRING }, { "maxLength", 1 << STRING }, { "pattern", 1 << STRING },
    { "minimum", 1 << INTEGER }, { "maximum", 1 << INTEGER }, { "exclusiveMinimum", 1 << INTEGER },
    { "exclusiveMaximum", 1 << INTEGER },
    { "title", 0 }, { "description", 0 }, { "default", 0 }, { "examples", 0 }, { "$comment", 0 }, { "$id", 0 },
    { "$schema", 0 }, { "$defs", 0 }, { "definitions", 0 }, { "deprecated", 0 }, { "readOnly", 0 }, { "writeOnly", 0 },
};

/* Every keyword is known and belongs to one of these types; `alone`: no other one says anything beside it. */
static vm_status check_words(schema *s, json_value v, int kinds, const char *alone) {
    for (json_iter it = json_each(v); json_next(&it) && !s->e->status;) {
        const keyword *w = NULL;
        for (int k = 0; k < VM_LEN(keywords); k++)
            if (!strcmp(keywords[k].name, it.key)) w = &keywords[k];
        if (!w)
            json_fail(
                it.value, s->e,
                "this keyword is not supported; take it out of the schema, and check what it asks for afterwards");
        else if (alone && w->kinds && strcmp(it.key, alone))
            json_fail(it.value, s->e, "beside \"%s\" this keyword is not supported; write it inside", alone);
        else if (w->kinds && !(w->kinds & kinds)) {
            bool number = kinds & 1 << NUMBER && w->kinds & 1 << INTEGER;
            json_fail(it.value, s->e,
                      number ? "a number (not an integer) cannot be limited; use \"type\": \"integer\", or take it out"
                             : "this keyword says nothing about the types that are allowed here; take it out");
        }
    }
    return s->e->status;
}

/* --- values ------------------------------------------------------------------------------------------------------- */
static int32_t node(schema *s, json_value v);

static int32_t quoted(schema *s, int32_t inside) {
    gx_items l = { 0 };
    return list(s, GX_ALL, &l, gx_add(&l, text(s, "\"")) && gx_add(&l, inside) && gx_add(&l, text(s, "\"")));
}

static int32_t range(schema *s, const char *from_to) {
    gx_range r[4];
    int64_t n = 0;
    for (const char *p = from_to; *p; p += 2) r[n++] = (gx_range){ p[0], p[1] };
    return gx_set(&s->b, r, n);
}

static int32_t number(schema *s) {
    gx_book *b = &s->b;
    gx_items l = { 0 };
    int32_t digit = range(s, "09"),
            whole = gx_pair(b, GX_ANY, text(s, "0"),
                            gx_pair(b, GX_ALL, range(s, "19"), gx_repeat(b, digit, 0, DIGITS - 1)));
    int32_t part = gx_pair(b, GX_ALL, text(s, "."), gx_repeat(b, digit, 1, DIGITS));
    int32_t power = gx_pair(b, GX_ALL, range(s, "EEee"),
                            gx_pair(b, GX_ALL, gx_repeat(b, range(s, "++--"), 0, 1), gx_repeat(b, digit, 1, 2)));
    return list(s, GX_ALL, &l,
                gx_add(&l, gx_repeat(b, text(s, "-"), 0, 1)) && gx_add(&l, whole) &&
                    gx_add(&l, gx_repeat(b, part, 0, 1)) && gx_add(&l, gx_repeat(b, power, 0, 1)));
}

/* open x close joins lo to hi of x with commas. */
static int32_t joined(schema *s, const char *open, int32_t x, const char *close, int64_t lo, int64_t hi) {
    gx_book *b = &s->b;
    gx_items l = { 0 };
    int32_t inside = -1;
    if (hi != 0)
        inside = gx_pair(
            b, GX_ALL, x,
            gx_repeat(b, gx_pair(b, GX_ALL, text(s, ","), x), VM_MAX(lo - 1, (int64_t)0), hi < 0 ? -1 : hi - 1));
    bool ok = gx_add(&l, text(s, open));
    if (hi != 0) ok = ok && gx_add(&l, lo ? inside : gx_repeat(b, inside, 0, 1));
    return list(s, GX_ALL, &l, ok && gx_add(&l, text(s, close)));
}

/* Any value; recursive rules of their own, made at their first use. */
static int32_t any_value(schema *s, int kind) {
    gx_book *b = &s->b;
    static const char value[] = "any value", object[] = "any object"; /* no reference begins like this */
    bool there = false;
    for (int64_t i = 0; i < b->n_rules; i++) there |= !strcmp(b->rule[i].name, value);
    int32_t v = gx_rule_of(b, value, sizeof value - 1, 0), o = gx_rule_of(b, object, sizeof object - 1, 0);
    if (v < 0 || o < 0) return vm_nomem(s->e, 64, "a schema"), -1;
    if (!there) {
        gx_items l = { 0 };
        int32_t name = quoted(s, gx_chars(b, 0, -1)),
                member = gx_pair(b, GX_ALL, gx_pair(b, GX_ALL, name, text(s, ":")), gx_call(b, v));
        b->rule[o].body = joined(s, "{", member, "}", 0, -1);
        bool ok = gx_add(&l, gx_call(b, o)) && gx_add(&l, joined(s, "[", gx_call(b, v), "]", 0, -1)) &&
                  gx_add(&l, name) && gx_add(&l, number(s)) && gx_add(&l, text(s, "true")) &&
                  gx_add(&l, text(s, "false")) && gx_add(&l, text(s, "null"));
        int32_t body = list(s, GX_ANY, &l, ok);
        b->rule[v].body = body;
    }
    return gx_call(b, kind == OBJECT ? o : v);
}

static int32_t fixed(schema *s, json_value v) {
    json_writer w = json_to_memory(JSON_COMPACT);
    size_t n;
    json_put_value(&w, NULL, v);
    char *t = json_take(&w, &n, s->e);
    int32_t x = t ? gx_literal(&s->b, t, n) : -1;
    vm_free(t);
    return x;
}

static int kind_of(json_value v) {
    switch (v.kind) {
    case JSON_OBJECT: return OBJECT;
    case JSON_ARRAY: return ARRAY;
    case JSON_STRING: return STRING;
    case JSON_INT: return INTEGER;
    case JSON_DOUBLE: return NUMBER;
    case JSON_BOOL: return BOOLEAN;
    default: return NOTHING;
    }
}

/* kinds: what `type` allows. */
static bool allowed(json_value v, int kinds) {
    int k = kind_of(v);
    return kinds & 1 << k || (k == INTEGER && kinds & 1 << NUMBER);
}

static int32_t values(schema *s, json_value all, int kinds) {
    gx_items l = { 0 };
    bool ok = true;
    if (all.kind != JSON_ARRAY || !json_len(all))
        return json_fail(all, s->e, "expected a list of values that is not empty"), -1;
    for (json_iter it = json_each(all); json_next(&it) && ok;)
        if (allowed(it.value, kinds)) ok = gx_add(&l, fixed(s, it.value));
    if (ok && !l.n) json_fail(all, s->e, "none of the values is of the type that is allowed here");
    return list(s, GX_ANY, &l, ok && l.n);
}

/* --- types -------------------------------------------------------------------------------------------------------- */
static bool is_required(json_value list, const char *name) {
    for (json_iter it = json_each(list); json_next(&it);)
        if (it.value.kind == JSON_STRING && !strcmp(json_as_str(it.value, NULL), name)) return true;
    return false;
}

/* x as a rule of its own: what stands at several places is made once, and nothing is made deep inside of others. */
static int32_t as_rule(schema *s, int32_t x, json_value v) {
    int32_t r = gx_rule_new(&s->b, "part", 4, json_line(v)); /* no reference has this name */
    if (r >= 0) s->b.rule[r].body = x;
    return gx_call(&s->b, r);
}

/* Properties from the last one back: `first`, what may come when nothing has; `rest`, what may come behind
 * something. */
static int32_t object(schema *s, json_value v) {
    gx_book *b = &s->b;
    json_value properties = json_get(v, "properties"), required = json_get(v, "required"),
               more = json_get(v, "additionalProperties");
    int64_t n = json_len(properties), k = 0;
    if (more.kind != JSON_MISSING && (more.kind != JSON_BOOL || (n && json_as_bool(more, s->e))))
        return json_fail(more, s->e, "further properties are not supported beside named ones; state false"), -1;
    if (!n && (more.kind != JSON_BOOL || json_as_bool(more, s->e))) {
        if (json_len(required))
            return json_fail(required, s->e, "required properties need \"properties\" that say what they are"), -1;
        return any_value(s, OBJECT);
    }
    if (n > PROPERTIES) return json_fail(properties, s->e, "more than %d properties of one object", PROPERTIES), -1;
    for (json_iter it = json_each(required); json_next(&it) && !s->e->status;)
        if (json_get(properties, json_as_str(it.value, s->e)).kind == JSON_MISSING)
            json_fail(it.value, s->e, "this required property is not among \"properties\"");
    int32_t *member = vm_alloc((size_t)(n + 1) * sizeof *member), first, rest;
    bool *needed = vm_alloc((size_t)(n + 1) * sizeof *needed), all = true;
    if (!member || !needed) vm_nomem(s->e, (size_t)n * sizeof *member, "a schema");
    for (json_iter it = json_each(properties); !s->e->status && json_next(&it); k++) {
        json_writer w = json_to_memory(JSON_COMPACT);
        json_put_str(&w, NULL, it.key);
        char *key = json_take(&w, NULL, s->e);
        member[k] = key ? gx_pair(b, GX_ALL, text(s, key), gx_pair(b, GX_ALL, text(s, ":"), node(s, it.value))) : -1;
        all &= needed[k] = is_required(required, it.key);
        vm_free(key);
    }
    first = rest = text(s, "");
    while (k-- > 0 && !s->e->status) {
        int32_t x = all ? member[k] : as_rule(s, member[k], v), with = gx_pair(b, GX_ALL, x, rest),
                comma = gx_pair(b, GX_ALL, text(s, ","), with);
        first = needed[k] ? with : gx_pair(b, GX_ANY, with, first);
        rest = all ? comma : as_rule(s, needed[k] ? comma : gx_pair(b, GX_ANY, comma, rest), v);
    }
    vm_free(member), vm_free(needed);
    return s->e->status ? -1 : as_rule(s, gx_pair(b, GX_ALL, text(s, "{"), gx_pair(b, GX_ALL, first, text(s, "}"))), v);
}

static int32_t array(schema *s, json_value v) {
    json_value items = json_get(v, "items");
    int64_t lo = json_int(v, "minItems", 0, 0, MOST_COUNT, s->e), hi = json_int(v, "maxItems", -1, 0, MOST_COUNT, s->e);
    if (json_bool(v, "uniqueItems", false, s->e))
        return json_fail(json_get(v, "uniqueItems"), s->e,
                         "this is not supported; take it out and drop equal items afterwards"),
               -1;
    if (hi >= 0 && hi < lo) return json_fail(v, s->e, "minItems %" PRId64 " is above maxItems %" PRId64, lo, hi), -1;
    int32_t x = s->e->status ? -1 : items.kind == JSON_MISSING ? any_value(s, ANY) : as_rule(s, node(s, items), items);
    return s->e->status ? -1 : joined(s, "[", x, "]", lo, hi);
}

static int32_t string(schema *s, json_value v) {
    json_value pattern = json_get(v, "pattern");
    int64_t lo = json_int(v, "minLength", 0, 0, MOST_COUNT, s->e),
            hi = json_int(v, "maxLength", -1, 0, MOST_COUNT, s->e);
    if (hi >= 0 && hi < lo) return json_fail(v, s->e, "minLength %" PRId64 " is above maxLength %" PRId64, lo, hi), -1;
    if (json_has(pattern)) {
        if (lo || hi >= 0)
            return json_fail(pattern, s->e,
                             "a pattern is not supported beside minLength or maxLength; write the length as {m,n}"),
                   -1;
        const char *p = json_as_str(pattern, s->e);
        int32_t x = s->e->status ? -1 : gx_pattern(&s->b, p, pattern, s->e);
        return s->e->status ? -1 : quoted(s, x);
    }
    return s->e->status ? -1 : quoted(s, gx_chars(&s->b, lo, hi));
}

static int32_t integer(schema *s, json_value v) {
    const int64_t most = 999999999999999999;
    int64_t lo = json_int(v, "minimum", -most, -most, most, s->e), hi = json_int(v, "maximum", most, -most, most, s->e);
    lo = VM_MAX(lo, json_int(v, "exclusiveMinimum", -most - 1, -most, most, s->e) + 1);
    hi = VM_MIN(hi, json_int(v, "exclusiveMaximum", most + 1, -most, most, s->e) - 1);
    if (!s->e->status && hi < lo) json_fail(v, s->e, "no integer is from %" PRId64 " to %" PRId64, lo, hi);
    return s->e->status ? -1 : gx_integer(&s->b, lo, hi);
}

static int32_t of_kind(schema *s, json_value v, int kind) {
    switch (kind) {
    case OBJECT: return object(s, v);
    case ARRAY: return array(s, v);
    case STRING: return string(s, v);
    case INTEGER: return integer(s, v);
    case NUMBER: return number(s);
    case BOOLEAN: return gx_pair(&s->b, GX_ANY, text(s, "true"), text(s, "false"));
    case NOTHING: return text(s, "null");
    default: return any_value(s, ANY);
    }
}

/* The types that a schema allows, as bits; the bit ANY when it states none. */
static int kinds_of(schema *s, json_value v) {
    json_value type = json_get(v, "type");
    static const char *const hint[][2] = {
        { "properties", "object" }, { "required", "object" },  { "additionalProperties", "object" },
        { "items", "array" },       { "minItems", "array" },   { "maxItems", "array" },
        { "pattern", "string" },    { "minLength", "string" }, { "maxLength", "string" }
    };
    int kinds = 0;
    int64_t n = type.kind == JSON_ARRAY ? json_len(type) : 1;
    if (type.kind == JSON_MISSING) {
        for (int k = 0; k < VM_LEN(hint); k++)
            if (json_has(json_get(v, hint[k][0])))
                return json_fail(json_get(v, hint[k][0]), s->e, "a schema with this keyword needs \"type\": \"%s\"",
                                 hint[k][1]),
                       0;
        return 1 << ANY;
    }
    for (int64_t i = 0; i < n && !s->e->status; i++) {
        json_value one = type.kind == JSON_ARRAY ? json_at(type, i) : type;
        const char *name = json_as_str(one, s->e);
        int k = KINDS;
        while (--k > 0 && strcmp(kind_name[k], name)) {}
        if (k <= 0)
            json_fail(one, s->e, "\"%s\" is no type; known are object, array, string, integer, number, boolean, null",
                      name);
        kinds |= 1 << k;
    }
    if (!kinds) json_fail(type, s->e, "an empty list of types allows nothing");
    return kinds;
}

/* --- schemas ------------------------------------------------------------------------------------------------------ */
static int32_t reference(schema *s, json_value v) {
    const char *ref = json_as_str(v, s->e);
    if (s->e->status) return -1;
    json_value to = s->root;
    if (!strncmp(ref, "#/$defs/", 8)) to = json_get(json_get(s->root, "$defs"), ref + 8);
    else if (!strncmp(ref, "#/definitions/", 14)) to = json_get(json_get(s->root, "definitions"), ref + 14);
    else if (strcmp(ref, "#"))
        return json_fail(v, s->e, "\"%s\": references are \"#\", \"#/$defs/NAME\" or \"#/definitions/NAME\"", ref), -1;
    if (to.kind == JSON_MISSING) return json_fail(v, s->e, "\"%s\" is not in the schema", ref), -1;
    int64_t before = s->b.n_rules;
    int32_t r = gx_rule_of(&s->b, ref, strlen(ref), json_line(v));
    if (r >= before && strcmp(ref, "#")) { /* its first use; further ones, and those inside, find the rule */
        int32_t body = node(s, to);
        if (!s->e->status) s->b.rule[r].body = body;
    }
    return gx_call(&s->b, r);
}

static int32_t any_of(schema *s, json_value v, const char *key) {
    json_value all = json_get(v, key);
    gx_items l = { 0 };
    bool ok = true;
    if (all.kind != JSON_ARRAY || !json_len(all))
        return json_fail(all, s->e, "expected a list of schemas that is not empty"), -1;
    if (!strcmp(key, "allOf") && json_len(all) > 1)
        return json_fail(all, s->e, "more than one schema at once is not supported; write them as one"), -1;
    for (json_iter it = json_each(all); json_next(&it) && ok;) ok = gx_add(&l, node(s, it.value));
    return list(s, GX_ANY, &l, ok);
}

static int32_t node(schema *s, json_value v) {
    static const char *const alone[] = { "$ref", "anyOf", "oneOf", "allOf" };
    gx_items l = { 0 };
    bool ok = true;
    if (s->e->status) return -1;
    if (v.kind == JSON_BOOL && json_as_bool(v, s->e)) return any_value(s, ANY);
    if (v.kind != JSON_OBJECT) return json_fail(v, s->e, "expected a schema: an object, or true"), -1;
    for (int k = 0; k < VM_LEN(alone); k++) {
        if (json_get(v, alone[k]).kind == JSON_MISSING) continue;
        if (check_words(s, v, ALL_KINDS, alone[k])) return -1;
        return k ? any_of(s, v, alone[k]) : reference(s, json_get(v, alone[k]));
    }
    int kinds = kinds_of(s, v);
    json_value one = json_get(v, "const"), some = json_get(v, "enum");
    if (s->e->status || check_words(s, v, kinds == 1 << ANY ? ALL_KINDS : kinds, NULL)) return -1;
    if (kinds == 1 << ANY) kinds = one.kind || some.kind ? ALL_KINDS : kinds;
    if (one.kind != JSON_MISSING || some.kind != JSON_MISSING) {
        static const char *const with[] = { "type", "const", "enum" };
        for (json_iter it = json_each(v); json_next(&it) && !s->e->status;) {
            const keyword *w = NULL;
            for (int k = 0; k < VM_LEN(keywords); k++)
                if (!strcmp(keywords[k].name, it.key)) w = &keywords[k];
            bool fits = !w->kinds;
            for (int k = 0; k < VM_LEN(with); k++) fits |= !strcmp(with[k], it.key);
            if (!fits)
                json_fail(it.value, s->e, "beside \"%s\" this keyword is not supported; list only values that fit",
                          one.kind ? "const" : "enum");
        }
        if (one.kind && some.kind) json_fail(one, s->e, "beside \"enum\" this keyword is not supported");
        if (!s->e->status && one.kind && !allowed(one, kinds))
            json_fail(one, s->e, "the value is not of the type that is allowed here");
        return s->e->status ? -1 : one.kind ? fixed(s, one) : values(s, some, kinds);
    }
    for (int k = 0; k < KINDS && ok && !s->e->status; k++)
        if (kinds & 1 << k && !(k == INTEGER && kinds & 1 << NUMBER)) ok = gx_add(&l, of_kind(s, v, k));
    return list(s, GX_ANY, &l, ok);
}

vm_status grammar_from_value(grammar **out, json_value v, vm_error *e) {
    schema s = { .b = { .name = json_name(v.doc) }, .root = v, .e = e };
    *out = NULL;
    int32_t r = gx_rule_of(&s.b, "#", 1, 1);
    if (r < 0) vm_nomem(e, 64, "a schema");
    else {
        int32_t body = node(&s, v);
        if (!e->status) s.b.rule[r].body = body;
    }
    if (s.b.full) vm_error_clear(e), vm_fail(e, VM_EINPUT, "%s: the schema has more than %d parts", s.b.name, GX_MOST_RULES);
    if (!e->status && s.b.failed) vm_nomem(e, (size_t)s.b.n * sizeof *s.b.x, "a schema");
    if (!e->status) return grammar_finish(out, &s.b, e);
    gx_book_free(&s.b);
    return e->status;
}

vm_status grammar_from_schema(grammar **out, const char *json, size_t bytes, const char *name, vm_error *e) {
    json_doc *d = json_parse(json, bytes, name, 0, e);
    *out = NULL;
    if (d) grammar_from_value(out, json_root(d), e);
    json_free(d);
    return e->status;
}
