/* eval_rows.h - what the loaders of benchmarks share: which files hold which split, and their records one by one,
 * whatever the form: an element of a JSON array, a member of a JSON object, a line of JSON Lines, a row of CSV.
 *
 *     static vm_status one(eval_row *r, vm_error *e) {
 *         const char *captions[] = { row_need(r, "caption"), row_need(r, "foil") }, *image = row_need(r, "image_file");
 *         return row_add(r, &(row_item){ .id = r->key, .captions = captions, .n_captions = 2, .images = &image,
 *                                        .n_images = 1, .folders = "images" }, e);
 *     }
 *     static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
 *         return eval_read_splits(&(eval_reading){ .set = s, .src = src }, files, VM_LEN(files), read_file, e);
 *     }
 *
 * What is wrong with a record is kept in r->bad, the first sentence only ("FILE:LINE: ..."); behind the callback it
 * becomes a malformed record of the set, so that callbacks contain no error handling. */
#ifndef VM_EVAL_ROWS_H
#define VM_EVAL_ROWS_H
#include "io/csv.h"
#include "io/json.h"
#include "pipeline/eval_set.h"

/* A file that is being read. */
typedef struct {
    eval_set *set;
    const eval_source *src;
    const char *file;
    int split;  /* of its records, -1 = they say it themselves */
    void *user; /* of the loader */
} eval_reading;

/* --- files -------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *split;
    const char *names;  /* below the folder of the data, separated by blanks: the first one that is there */
    bool on_request;    /* only when --split names it */
} eval_file;

/* The files of a data set: those of the folder --data, or the file --data alone. A file alone belongs to the split
 * whose name it has, to the only split of the table, or to the only one of --split. A split without file: a warning, an
 * error when --split names it or when there is none at all. each is called with file and split set. */
vm_status eval_read_splits(const eval_reading *r, const eval_file *files, int n,
                           vm_status (*each)(const eval_reading *r, vm_error *e), vm_error *e);

/* The first of the names (separated by blanks) that is there below dir, vm_free; NULL = none, or no memory (e set). */
char *eval_first_file(const char *dir, const char *names, vm_error *e);

/* --- records ------------------------------------------------------------------------------------------------------ */
typedef struct eval_row {
    const eval_reading *of;
    int split;          /* as in the reading; row_split sets it */
    int64_t line;       /* in the file, from 1 */
    int64_t number;     /* of the record in the file, from 0 */
    int64_t index;      /* row_each: number in the record around it */
    const char *key;    /* its name in the object that the file is; NULL otherwise */
    json_value value;   /* missing for CSV */
    const csv_reader *csv; /* NULL for JSON */
    const csv_row *row;
    const struct eval_row *up; /* row_each: the record around it */
    vm_error bad;       /* what is malformed in it */
    vm_error fatal;     /* what is malformed in the file: a column that is missing */
    char id[64];        /* room for a number as text */
} eval_row;
typedef vm_status (*eval_row_fn)(eval_row *r, vm_error *e);

enum {
    ROWS_LIST = 1,    /* JSON: an array of records */
    ROWS_MEMBERS = 2, /* JSON: an object whose members are records */
    ROWS_ANY = 4,     /* records need not be objects */
    ROWS_BY_KEY = 8   /* members in the order of their names, which are decimal numbers */
};
/* The records of the file: .csv and .tsv tables, .jsonl JSON Lines, else JSON. A last line of JSON Lines that is cut
 * off is left out with a warning. */
vm_status eval_read_rows(const eval_reading *r, int flags, eval_row_fn one, vm_error *e);
/* Elements or members of an array or object as records of their own, with the same number. */
vm_status row_each(const eval_row *r, json_value of, eval_row_fn one, vm_error *e);

/* "FILE:LINE", valid until the next call in this thread. */
const char *row_where(const eval_row *r);
void row_fail(eval_row *r, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* words behind "FILE:LINE: " */

/* Fields. names: alternatives, separated by blanks; the first that is there and not null counts. */
const char *row_text(eval_row *r, const char *names);  /* NULL = none */
const char *row_need(eval_row *r, const char *names);  /* "" and r->bad when there is none */
const char *row_id(eval_row *r, const char *names);    /* texts and integers; the record's number when there is none */
int64_t row_int(eval_row *r, const char *names, int64_t dflt, int64_t min, int64_t max);
int64_t row_need_int(eval_row *r, const char *names, int64_t min, int64_t max);
bool row_has(const eval_row *r, const char *names);

/* The split of that name for this record; false when it is not wanted, or memory is out (e is set). */
bool row_split(eval_row *r, const char *name, vm_error *e);

/* An item to be. Zero gold, no tag and no group by default. */
typedef struct {
    const char *id, *tag, *group;
    const char *const *captions, *const *images; /* images: as the annotations name them */
    int n_captions, n_images, gold;
    const char *folders;           /* of all pictures, see media_find; NULL = none */
    const char *const *folder;     /* or one for each picture */
    const int32_t (*boxes)[4];
} row_item;
/* Adds a choice, or a pair; nothing when r->bad is set. */
vm_status row_add(eval_row *r, const row_item *x, vm_error *e);
vm_status row_add_pair(eval_row *r, const row_item *x, vm_error *e);

/* --- texts -------------------------------------------------------------------------------------------------------- */
/* Without white space at both ends, the first letter upper case, a full stop at the end; what is empty stays empty.
 * NULL when memory is out; vm_free. */
char *eval_format_caption(const char *text, vm_error *e);
/* Without white space at both ends. vm_free. */
char *eval_trimmed(const char *text, vm_error *e);
/* The first place of the words in text where no letter or digit touches them; NULL = none. */
const char *eval_find_words(const char *text, const char *words);
#endif
