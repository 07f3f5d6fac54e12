/* words_noun.c - nouns: the head of a phrase, singular and plural, by rules and a table of exceptions. See words.h. */
#include "io/words.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* one, many; the same twice: one form for both. With a dash: the end of longer words too (policeman, bookshelf). The
 * first that fits holds. */
static const char *const irregular[][2] = {
    { "-human", "humans" },     { "german", "germans" },       { "ottoman", "ottomans" },   { "talisman", "talismans" },
    { "-person", "people" },    { "-man", "men" },             { "-child", "children" },    { "mongoose", "mongooses" },
    { "-mouse", "mice" },       { "-foot", "feet" },           { "-tooth", "teeth" },       { "-goose", "geese" },
    { "ox", "oxen" },           { "-knife", "knives" },        { "-wife", "wives" },        { "life", "lives" },
    { "leaf", "leaves" },       { "-loaf", "loaves" },         { "-shelf", "shelves" },     { "half", "halves" },
    { "calf", "calves" },       { "-wolf", "wolves" },         { "-scarf", "scarves" },     { "-thief", "thieves" },
    { "elf", "elves" },         { "hoof", "hooves" },          { "-bus", "buses" },         { "gas", "gases" },
    { "lens", "lenses" },       { "iris", "irises" },          { "cactus", "cacti" },       { "octopus", "octopuses" },
    { "walrus", "walruses" },   { "virus", "viruses" },        { "crocus", "crocuses" },   { "platypus", "platypuses" },
    { "canvas", "canvases" },   { "atlas", "atlases" },        { "-potato", "potatoes" },   { "-tomato", "tomatoes" },
    { "mango", "mangoes" },     { "-hero", "heroes" },         { "echo", "echoes" },        { "volcano", "volcanoes" },
    { "buffalo", "buffaloes" }, { "mosquito", "mosquitoes" },  { "quiz", "quizzes" },       { "die", "dice" },
    { "tie", "ties" },          { "necktie", "neckties" },     { "bowtie", "bowties" },     { "pie", "pies" },
    { "magpie", "magpies" },    { "-cookie", "cookies" },      { "movie", "movies" },       { "-brownie", "brownies" },
    { "smoothie", "smoothies" }, { "selfie", "selfies" },      { "zombie", "zombies" },     { "hoodie", "hoodies" },
    { "genie", "genies" },      { "prairie", "prairies" },     { "veggie", "veggies" },     { "axe", "axes" },
    { "-ache", "aches" },       { "moustache", "moustaches" }, { "quiche", "quiches" },     { "-sheep", "sheep" },
    { "-deer", "deer" },        { "-fish", "fish" },           { "moose", "moose" },        { "bison", "bison" },
    { "salmon", "salmon" },     { "shrimp", "shrimp" },        { "squid", "squid" },        { "-craft", "craft" },
    { "broccoli", "broccoli" }, { "-furniture", "furniture" }, { "luggage", "luggage" },    { "-ware", "ware" },
    { "-food", "food" },        { "bread", "bread" },          { "grass", "grass" },        { "rice", "rice" },
    { "water", "water" },       { "snow", "snow" },            { "sand", "sand" },          { "fruit", "fruit" },
    { "rhinoceros", "rhinoceroses" }, { "thermos", "thermoses" }, { "cosmos", "cosmos" },
};

/* Plural in form, for one thing. */
static const char *const pairs[] = { "scissors",   "skis",    "jeans",    "pants",      "trousers",
                                     "shorts",     "tights",  "glasses",  "sunglasses", "binoculars",
                                     "headphones", "goggles", "leggings", "pliers",     "tongs",
                                     "tweezers",   "pajamas", "pyjamas",  "clothes",    "stairs" };
static const char *const drinks[] = { "wine",      "water",    "beer",     "juice", "milk",
                                      "champagne", "drinking", "cocktail", "shot" };

/* The head noun inside the phrase, and the word before it. */
static word head_of(const char *phrase, word *before) {
    static const char *const behind[] = { "of",   "in",    "on",    "with",    "at",      "for",    "from",
                                          "by",   "near",  "under", "behind",  "beside",  "inside", "to",
                                          "that", "which", "and",   "wearing", "holding", "made" };
    word head = { phrase, 0 };
    *before = head;
    const char *p = phrase;
    for (word w; word_next(&p, &w); *before = head, head = w)
        if (head.len && word_any(w, behind, VM_LEN(behind)) >= 0) break;
    return head;
}

bool noun_is_pair(const char *phrase) {
    word before, h = head_of(phrase, &before);
    if (word_any(h, pairs, VM_LEN(pairs)) < 0) return false;
    return !word_is(h, "glasses") || word_any(before, drinks, VM_LEN(drinks)) < 0; /* wine glasses are several */
}

/* Where in the noun an exception stands, and its other form. from: 0 one, 1 many. */
static char *exception(char *noun, int from, const char **to) {
    size_t n = strlen(noun);
    for (int i = 0; i < VM_LEN(irregular); i++) {
        bool ending = irregular[i][0][0] == '-';
        const char *one = irregular[i][0] + ending, *form = from ? irregular[i][1] : one;
        size_t m = strlen(form);
        if (m > n || (m < n && !ending) || strcasecmp(noun + n - m, form)) continue;
        *to = from ? one : irregular[i][1];
        return noun + n - m;
    }
    return NULL;
}

static bool ends(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n > m && !strcasecmp(s + n - m, end);
}

static void put(char *at, const char *s) { memcpy(at, s, strlen(s) + 1); }

/* These two write into the noun, which has room for NOUN_MORE bytes more. */
enum { NOUN_MORE = 8 };

static void to_plural(char *noun) {
    size_t n = strlen(noun);
    const char *to;
    char *from = exception(noun, 0, &to);
    if (from) put(from, to);
    else if (!n || exception(noun, 1, &to)) return;
    else if (ends(noun, "s") || ends(noun, "x") || ends(noun, "z") || ends(noun, "ch") || ends(noun, "sh"))
        put(noun + n, "es");
    else if (ends(noun, "y") && !strchr("aeiou", tolower((unsigned char)noun[n - 2]))) put(noun + n - 1, "ies");
    else put(noun + n, "s");
}

static void to_singular(char *noun) {
    size_t n = strlen(noun);
    const char *to;
    char *from = exception(noun, 1, &to);
    if (from) put(from, to);
    else if (exception(noun, 0, &to)) return;
    else if (ends(noun, "ies") && n > 4) put(noun + n - 3, "y");
    else if (ends(noun, "ches") || ends(noun, "shes") || ends(noun, "xes") || ends(noun, "sses") || ends(noun, "zzes"))
        noun[n - 2] = 0;
    else if (ends(noun, "s") && !ends(noun, "ss") && !ends(noun, "us") && !ends(noun, "is")) noun[n - 1] = 0;
}

/* At most n bytes of s (which go on behind them), whole characters. */
static int whole(const char *s, int n) {
    while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) n--;
    return n;
}

void phrase_head(char out[WORDS_MAX], const char *phrase) {
    word before, h = head_of(phrase, &before);
    int n = h.len > WORDS_MAX - NOUN_MORE ? whole(h.at, WORDS_MAX - NOUN_MORE) : h.len;
    for (int i = 0; i < n; i++) out[i] = h.at[i] >= 'A' && h.at[i] <= 'Z' ? (char)(h.at[i] + 32) : h.at[i];
    out[n] = 0;
    if (!noun_is_pair(phrase)) to_singular(out);
}

static void with_head(char out[WORDS_MAX], const char *phrase, void (*change)(char *)) {
    char noun[WORDS_MAX];
    word before, h = head_of(phrase, &before);
    size_t n = strlen(phrase), at = (size_t)(h.at - phrase), len = (size_t)h.len;
    if (n > WORDS_MAX - NOUN_MORE - 1 ||
        noun_is_pair(phrase)) { /* too long for a noun phrase, or without another number */
        if (n > WORDS_MAX - 1) n = (size_t)whole(phrase, WORDS_MAX - 1);
        memcpy(out, phrase, n);
        out[n] = 0;
        return;
    }
    memcpy(noun, h.at, len);
    noun[len] = 0;
    change(noun);
    memcpy(out, phrase, at);
    put(out + at, noun);
    put(out + at + strlen(noun), h.at + len);
}

void phrase_plural(char out[WORDS_MAX], const char *phrase) { with_head(out, phrase, to_plural); }
void phrase_singular(char out[WORDS_MAX], const char *phrase) { with_head(out, phrase, to_singular); }

bool phrase_mentions(const char *text, const char *noun) {
    char many[WORDS_MAX], one[WORDS_MAX], head[WORDS_MAX];
    phrase_plural(many, noun);
    for (word w; word_next(&text, &w);) {
        snprintf(one, sizeof one, "%.*s", w.len, w.at);
        phrase_head(head, one);
        if (!strcasecmp(one, noun) || !strcasecmp(one, many) || !strcmp(head, noun)) return true;
    }
    return false;
}
