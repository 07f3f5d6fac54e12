/* ask_scope.c - what questions are asked about: the scopes of edits and layouts. See ask_stage.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/ask_stage.h"

void ask_scopes_free(ask_scopes *l) {
    for (int64_t i = 0; i < l->n; i++) {
        ask_scope *s = &l->s[i];
        vm_free(s->key), vm_free(s->name), vm_free(s->text), vm_free(s->not_text), vm_free(s->things),
            vm_free(s->input), vm_free(s->head);
        questions_free(&s->asked);
    }
    vm_free(l->s);
    *l = (ask_scopes){ 0 };
}

void ask_scope_nouns(const ask_scope *s, const char *nouns[ASK_HEADS]) {
    for (int i = 0; i < s->heads; i++) nouns[i] = s->head[i];
    nouns[s->heads] = NULL;
}

static bool add_head(ask_scope *s, const char *phrase) {
    char head[WORDS_MAX];
    phrase_head(head, phrase);
    for (int i = 0; i < s->heads; i++)
        if (!strncmp(s->head[i], head, sizeof s->head[i] - 1)) return true;
    if (!s->head && !(s->head = vm_calloc(LAYOUT_OBJECTS, sizeof *s->head))) return false;
    if (s->heads < LAYOUT_OBJECTS) snprintf(s->head[s->heads++], sizeof *s->head, "%.63s", head);
    return true;
}

/* A scope; texts are copied. not_text, things and name may be NULL. */
static ask_scope *add(ask_job *j, const text_item *of, const char *part, const char *text, const char *not_text,
                      const char *things, const char *name, vm_error *e) {
    ask_scopes *l = &j->scopes;
    if (!vm_grow(&l->s, &l->cap, l->n + 1, sizeof *l->s)) return vm_nomem(e, sizeof *l->s, "scopes"), NULL;
    ask_scope *s = &l->s[l->n++];
    *s = (ask_scope){ .of = of, .object = -1, .key = vm_asprintf("%s:%s", of->id, part), .text = vm_strdup(text) };
    s->not_text = not_text ? vm_strdup(not_text) : NULL, s->things = things ? vm_strdup(things) : NULL,
    s->name = name ? vm_strdup(name) : NULL;
    s->input = vm_asprintf("%s\n%s\n%s", text, not_text ? not_text : "", things ? things : "");
    if (!s->key || !s->text || !s->input || (not_text && !s->not_text) || (things && !s->things) || (name && !s->name))
        return vm_nomem(e, 512, "a scope"), NULL;
    return s;
}

static vm_status add_edit(ask_job *j, const text_item *x, vm_error *e) {
    char now[ASK_TEXT];
    bool several;
    ask_some(now, x->region && *x->region ? x->region : x->edited_phrase, &several);
    ask_scope *s = add(j, x, "global", x->edited_caption, x->caption, NULL, NULL, e);
    bool ok = s && add_head(s, x->edited_phrase) && add_head(s, x->input_phrase);
    s = ok ? add(j, x, "local", now, x->input_phrase, NULL, NULL, e) : NULL;
    ok = s && add_head(s, x->edited_phrase) && add_head(s, x->input_phrase);
    return ok || e->status ? e->status : vm_nomem(e, 64, "a scope");
}

/* The global scope, then one for each different thing. */
static vm_status add_layout(ask_job *j, const text_item *x, vm_error *e) {
    layout l;
    char things[LAYOUT_TEXT] = "";
    int first[LAYOUT_OBJECTS], n = 0;
    if (text_item_layout(&l, x, e)) return e->status;
    for (int i = 0; i < l.n; i++) {
        bool again = false;
        for (int k = 0; k < n; k++) again |= !strcmp(l.object[first[k]].name, l.object[i].name);
        if (again) continue;
        first[n++] = i;
        snprintf(things + strlen(things), sizeof things - strlen(things), "%s%s", n > 1 ? ", " : "", l.object[i].name);
    }
    ask_scope *s = add(j, x, "global", l.caption, NULL, things, NULL, e);
    bool ok = s != NULL;
    for (int k = 0; k < n && ok; k++) ok = add_head(s, l.object[first[k]].name);
    for (int k = 0; k < n && ok; k++) {
        const char *name = l.object[first[k]].name, *other = n > 1 ? l.object[first[k ? 0 : 1]].name : NULL;
        s = add(j, x, name, name, other, NULL, name, e);
        ok = s && add_head(s, name) && (!other || add_head(s, other));
        if (s) s->object = first[k];
    }
    return ok || e->status ? e->status : vm_nomem(e, 64, "a scope");
}

vm_status ask_scopes_make(ask_job *j, vm_error *e) {
    for (int64_t i = 0; i < j->list.n && !e->status; i++)
        if (j->list.item[i].layout) add_layout(j, &j->list.item[i], e);
        else add_edit(j, &j->list.item[i], e);
    return e->status;
}
