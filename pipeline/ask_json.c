/* ask_json.c - questions as JSON: the record of ask_question.h, and that of the published files. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "io/json_loose.h"
#include "pipeline/ask_question.h"

void question_put(json_writer *w, const char *key, const question *q) {
    json_begin_object(w, key);
    json_put_str(w, "question", q->question);
    json_begin_array(w, "choices");
    for (int i = 0; i < q->n; i++) json_put_str(w, NULL, q->choice[i]);
    json_close_array(w);
    json_put_int(w, "answer_index", q->answer);
    json_put_str(w, "kind", ask_kind_name[q->kind]);
    json_close_object(w);
}

void questions_put(json_writer *w, const char *key, const questions *l) {
    json_begin_array(w, key);
    for (int i = 0; i < l->n; i++) question_put(w, NULL, &l->q[i]);
    json_close_array(w);
}

/* One line without blanks at the ends; false when it does not fit. */
static bool line(char out[ASK_TEXT], const char *s) {
    size_t k = 0;
    for (; *s; s++) {
        char c = (unsigned char)*s < ' ' ? ' ' : *s;
        if (c == ' ' && (!k || out[k - 1] == ' ')) continue;
        if (k + 1 >= ASK_TEXT) return false;
        out[k++] = c;
    }
    while (k && out[k - 1] == ' ') k--;
    out[k] = 0;
    return k > 0;
}

bool question_from_json(question *q, json_value v, ask_kind dflt, const char **why) {
    char number[32];
    json_value choices = json_loose_get(v, "choices"), index = json_loose_get(v, "answer_index");
    const char *text = json_loose_text(json_loose_get(v, "question"), number), *kind, *answer;
    *q = (question){ .kind = dflt, .answer = -1 };
    *why = "question";
    if (!text || !line(q->question, text)) return false;
    *why = "choices";
    if (choices.kind != JSON_ARRAY || json_len(choices) > ASK_CHOICES) return false;
    for (json_iter it = json_each(choices); json_next(&it); q->n++) {
        text = json_loose_text(it.value, number);
        if (!text || !line(q->choice[q->n], text)) return false;
        if (!strcasecmp(q->choice[q->n], "yes")) snprintf(q->choice[q->n], ASK_TEXT, "yes");
        if (!strcasecmp(q->choice[q->n], "no")) snprintf(q->choice[q->n], ASK_TEXT, "no");
    }
    *why = "answer";
    if (json_has(index)) q->answer = (int)json_as_int(index, 0, ASK_CHOICES - 1, NULL);
    else if ((answer = json_loose_text(json_loose_get(v, "answer"), number)))
        for (int i = 0; i < q->n; i++)
            if (!strcasecmp(q->choice[i], answer)) q->answer = i;
    if (q->answer < 0 || q->answer >= q->n) return false;
    *why = "kind";
    if (!json_has(json_loose_get(v, "kind"))) return true;
    kind = json_loose_text(json_loose_get(v, "kind"), number);
    for (int k = 0; kind && k < ASK_KINDS; k++)
        if (!strcasecmp(kind, ask_kind_name[k])) return q->kind = (ask_kind)k, true;
    return false;
}
