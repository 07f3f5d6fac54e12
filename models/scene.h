/* scene.h - the miniature world: small pictures with exact captions, boxes and minimal changes, from one integer seed.
 *
 * A scene is 64x64 pixels: up to 6 objects of 12 classes, 8 colours, 3 textures and 2 sizes on one of 4 backgrounds.
 * Everything follows from the seed by a counter-based generator, so nothing has to be stored:
 *
 *     scene s;  scene_text t;  uint8_t rgb[SCENE_BYTES];
 *     scene_sample(seed, NULL, &s);                       // what is where
 *     scene_render(&s, rgb);                              // 64 x 64 x 3 bytes, rows from the top left
 *     scene_caption(&s, seed, SCENE_ORDINARY, &t);        // "a red ball left of two small houses on snow"
 *     scene_pair p;
 *     scene_sample_pair(seed, SCENE_COUNTING, NULL, &p);  // two scenes and two captions that differ in one thing
 *
 * No function allocates or keeps state: all may run in any number of threads. Scenes, captions and edits are integer
 * arithmetic; pictures use single precision with correctly rounded operations only and no fused ones: the same bytes
 * on every platform.
 *
 * The classes, their shapes, the grammar and the edits: models/scene_render.c, scene_caption.c, scene_edit.c; the oracle: scene_look.c. */
#ifndef VM_SCENE_H
#define VM_SCENE_H
#include <stdbool.h>
#include <stdint.h>

enum {
    SCENE_SIDE = 64,
    SCENE_BYTES = SCENE_SIDE * SCENE_SIDE * 3,
    SCENE_CLASSES = 12,
    SCENE_COLOURS = 8,
    SCENE_TEXTURES = 3, /* plain, striped, dotted */
    SCENE_SIZES = 2,    /* small, large */
    SCENE_BACKGROUNDS = 4,
    SCENE_OBJECTS = 6, /* at most */
    SCENE_PHRASES = 3,
    SCENE_TEXT = 160,   /* longest caption with its NUL */
    SCENE_WORDS = 24,   /* longest caption in words */
    SCENE_UNSAID = 255, /* an attribute that a phrase leaves open */
    SCENE_SOME = 0,     /* counts of a phrase: "some", 1..5 for "one".."five", "a" */
    SCENE_A = 6,
    SCENE_ONE_PX = 256 /* positions and radii are in 1/256 pixel */
};

typedef struct {
    uint8_t class, colour, texture, size; /* index into the tables of words below */
    int32_t x, y, r;                      /* centre and half extent, 1/256 pixel; x right, y down, first pixel 0..256 */
    int32_t jitter;                       /* r = radius of the size * jitter / 256 */
} scene_object;

typedef enum {
    SCENE_LIST,  /* 1-3 objects of distinct classes */
    SCENE_GROUP, /* 1-5 alike, objects[0..group-1], and 0-1 other */
    SCENE_TWO,   /* objects 0 and 1 in a clear relation, at times a third that captions leave out */
    SCENE_DENSE, /* 6 objects of distinct classes or as many as fit; only on request */
    SCENE_MIX    /* in options: list .35, group .30, two .35 */
} scene_kind;

typedef struct {
    uint64_t seed, variant; /* of the noise; twins share them */
    uint8_t kind, background, n, group;
    scene_object object[SCENE_OBJECTS];
} scene;

/* NULL stands for { SCENE_MIX, 0 }. */
typedef struct {
    scene_kind kind;
    int max_objects; /* curriculum: 1, 2, ...; 0 = no limit */
} scene_opts;

void scene_sample(uint64_t seed, const scene_opts *o, scene *s);

/* Pixels, rows of RGB. */
void scene_render(const scene *s, uint8_t rgb[SCENE_BYTES]);

/* Tight box of object i: the pixels that it covers more than a quarter, outline included; x1, y1 exclusive. */
typedef struct {
    int x0, y0, x1, y1;
} scene_box;
scene_box scene_object_box(const scene_object *o);
/* The square that any object of that size and place fits in, with a pixel around it, within the picture. */
scene_box scene_object_square(const scene_object *o);

/* Relations of pictures: object a is left of, right of, above or below object b when that axis is clear. */
typedef enum { SCENE_LEFT, SCENE_RIGHT, SCENE_ABOVE, SCENE_BELOW, SCENE_NO_RELATION } scene_relation;
scene_relation scene_relate(const scene_object *a, const scene_object *b);
static inline scene_relation scene_opposite(scene_relation r) {
    return r == SCENE_NO_RELATION ? r : (scene_relation)(r ^ 1);
}

/* ---- captions ----
 *   caption := phrase | phrase rel phrase | phrase ("and" phrase)*, then at times "on" background
 *   phrase  := ("a" | "an" | "some" | number) [size] [colour] [texture] noun            number: one ... five */
typedef struct {
    uint8_t count;                        /* SCENE_A, SCENE_SOME or 1..5 */
    uint8_t size, colour, texture, class; /* SCENE_UNSAID or the index */
    uint8_t objects;                      /* bit i: the phrase speaks of object i (0 after scene_parse) */
    uint8_t begin, name, end;             /* bytes of the text: the phrase, the same without article or number */
} scene_phrase;

typedef struct {
    char text[SCENE_TEXT];
    uint8_t n;          /* phrases */
    uint8_t relation;   /* of phrase 0 to phrase 1, scene_relation */
    uint8_t background; /* or SCENE_UNSAID */
    scene_phrase phrase[SCENE_PHRASES];
} scene_text;

typedef enum {
    SCENE_ORDINARY, /* leaves out: colour .3, size .65, texture .5, relation .5; "some" for the number .5 */
    SCENE_SPECIFIC  /* number, relation, colour and texture always; size as in ordinary captions */
} scene_mode;
void scene_caption(const scene *s, uint64_t seed, scene_mode mode, scene_text *t);

/* Reads a caption of the grammar. false when the text is none (wrong word, order, article, singular or plural). */
bool scene_parse(const char *text, scene_text *t);
/* Is what the caption says true of the scene? "a": at least one such object; numbers: exactly so many. */
bool scene_holds(const scene *s, const scene_text *t);

/* Without these objects (bits); the others move up, and a group that is gone is a list. */
void scene_take_out(scene *s, unsigned objects);
/* Objects of the scene that answer to the phrase, as bits. */
unsigned scene_matches(const scene *s, const scene_phrase *p);

/* ---- the oracle ----
 * What a picture shows where object i of the scene was: of all objects in all colours and textures, near that place, and of none at all, what differs
 * least from it in the pixels around; none is seen only where the difference could be noise. Everything else of the picture is taken to be the scene's. */
typedef struct {
    bool nothing;
    uint8_t class, colour, texture; /* of the nearest object, also with `nothing` */
    double far, far_nothing;        /* mean squared differences, levels of 255 */
} scene_seen;
void scene_look(const scene *s, int i, const uint8_t rgb[SCENE_BYTES], scene_seen *out);

/* ---- questions to a detector ----
 * Noun phrases without article or number, "small red ball"; the objects that each is true of, none of absent ones. The first is present, at
 * times one or two follow, half of them absent; no object answers to two of them. */
enum { SCENE_QUESTIONS = 3 };
typedef struct {
    char text[48];
    uint8_t size, colour, texture, class; /* SCENE_UNSAID or the index */
    uint8_t objects;                      /* bit i: object i is one */
} scene_question;
int scene_ask(const scene *s, uint64_t seed, scene_question q[SCENE_QUESTIONS]); /* returns how many, at least 1 */

/* ---- minimal changes ---- */
typedef enum { SCENE_OBJECT, SCENE_ATTRIBUTE, SCENE_RELATION, SCENE_COUNTING, SCENE_CATEGORIES } scene_category;
typedef enum {
    SCENE_OF_CLASS, SCENE_OF_COLOUR, SCENE_OF_TEXTURE, SCENE_OF_SIZE, SCENE_OF_PLACE, SCENE_OF_NUMBER
} scene_aspect;

typedef struct {
    scene_category category;
    scene_aspect aspect;
    scene scene[2];     /* original, edited: pixels differ only around the touched objects */
    scene_text text[2]; /* specific captions; each is true of its own picture and false of the other */
    uint8_t touched;    /* bit i: object i of the original was changed, moved or removed */
    struct {
        uint8_t begin, end; /* bytes of text[k]: the phrase or relation that differs; it stands there once */
    } change[2];
} scene_pair;

/* Edits a scene in the category. false when this scene does not allow it (no group of two, no relation, no room). */
bool scene_edit(const scene *s, scene_category category, uint64_t seed, scene_pair *p);
/* A pair of the category: draws scenes of the seed until one can be edited. counting draws groups, relation two
 * objects, the others a mix with at most o->max_objects; o->kind is left aside. */
void scene_sample_pair(uint64_t seed, scene_category category, const scene_opts *o, scene_pair *p);
/* A category of the seed, drawn by weight (none negative, one positive). */
scene_category scene_pick_category(uint64_t seed, const double weight[SCENE_CATEGORIES]);

/* ---- words ---- */
extern const char *const scene_class_name[SCENE_CLASSES], *const scene_plural_name[SCENE_CLASSES];
extern const char *const scene_colour_name[SCENE_COLOURS], *const scene_texture_name[SCENE_TEXTURES];
extern const char *const scene_size_name[SCENE_SIZES], *const scene_background_name[SCENE_BACKGROUNDS];
extern const char *const scene_number_name[SCENE_A + 1];      /* some, one ... five, a */
extern const char *const scene_relation_name[SCENE_NO_RELATION]; /* "left of", "right of", "above", "below" */
extern const char *const scene_category_name[SCENE_CATEGORIES];
extern const char *const scene_aspect_name[SCENE_OF_NUMBER + 1];
/* Every word that a caption can hold, each once; returns how many. */
int scene_words(const char *const **words);

/* ---- seeds: sets that never meet ---- */
typedef enum { SCENE_TRAIN, SCENE_SOURCE, SCENE_TEST, SCENE_VAL } scene_split;
/* Seed number i of a set: training 0 ... 2^40, source pool 2^41 + i, test 2^42 + i, validation 2^43 + i. */
uint64_t scene_seed(scene_split split, uint64_t i);

/* ---- chart: every class (column) in every colour (row), large, without noise ---- */
enum { SCENE_CELL = 26, SCENE_CHART_W = SCENE_CLASSES * SCENE_CELL, SCENE_CHART_H = SCENE_COLOURS * SCENE_CELL };
void scene_chart(int background, int texture, uint8_t rgb[SCENE_CHART_W * SCENE_CHART_H * 3]);

#endif
