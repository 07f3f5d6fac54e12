/* test_eval_pairs.c - loaders of benchmarks of pairs: VisMin's three forms, Winoground, EqBen, MMVP, tables of one's
 * own. */
#include "tests/eval_sets.h"

TEST(vismin_tables) {
    clean();
    put_pictures("original_images/a.png edited_images/a.png original_images/b.jpg edited_images/c.png");
    put("object.csv", "image_path,caption,edited_image_path,edited_caption,edit_id\n"
                      "/a.png,\"a cup, red\",a.png,a cup,7\nb.png,x,c.png,y,8\n");
    put("counting.jsonl",
        "{\"image_0\":\"a.png\",\"text_0\":\"two\",\"image_1\":\"a.png\",\"text_1\":\"three\",\"id\":7,"
        "\"question_1\":\"?\"}\n");
    EXPECT_STR(LOAD("vismin"), "object 7 0: a cup, red | a cup ; original_images/a.png | edited_images/a.png\n"
                               "object 8 0: x | y ; original_images/b.jpg | edited_images/c.png\n"
                               "counting 7 0: two | three ; original_images/a.png | edited_images/a.png\n");
    EXPECT_HAS(said, "has no attribute.csv attribute.json attribute.jsonl; the split attribute is left out");
    EXPECT_STR(LOAD("vismin", .splits = { "counting" }),
               "counting 7 0: two | three ; original_images/a.png | edited_images/a.png\n");
    EXPECT_STR(LOAD("vismin", .splits = { "relation" }),
               "!3 : has no relation.csv relation.json relation.jsonl, the file of --split relation");
    EXPECT_STR(LOAD("vismin", .splits = { "colour" }), "!2 eval: --split colour: vismin has no such split in ");
    put("object.csv", "image_path,caption,edited_image_path,edited_caption,edit_id\n"
                      "a.png,x,no.png,y,1\na.png,x,a.png,y,2\na.png,x,a.png,y,2\n");
    EXPECT_STR(
        LOAD("vismin", .data = "object.csv"),
        "object 2 0: x | y ; original_images/a.png | edited_images/a.png\n"
        "- object.csv:2: id 1: picture no.png not found (looked in ; --images names further folders)\n1 twice\n");
    put("object.csv",
        "image_path,caption,edited_image_path,edited_caption,edit_id\na.png,x,a.png,y,2\na.png,x,a.png,z,2\n");
    EXPECT_HAS(LOAD("vismin", .data = "object.csv"),
               "!3 object.csv:3: id 2 stands twice in object with different contents");
    put("object.csv", "image_path;caption;edited_image_path\na.png;x;a.png\n");
    EXPECT_STR(
        LOAD("vismin", .data = "object.csv"),
        "!3 object.csv: has no column \"edited_caption\" or \"text_1\" or \"caption_1\" or \"caption1\"; its columns "
        "are: image_path, caption, edited_image_path");
    put("object.csv", "image_path,caption,edited_image_path,edited_caption\na.png,x\na.png,x,a.png,y\n");
    EXPECT_HAS(LOAD("vismin", .data = "object.csv"), "!3 object.csv:2: 2 fields, expected 4 as in the first row");
    EXPECT_STR(LOAD("vismin", .data = "object.csv", .on_error = EVAL_SKIP),
               "object 1 0: x | y ; original_images/a.png | edited_images/a.png\n"
               "- malformed object.csv:2: 2 fields, expected 4 as in the first row\n");
    starve("vismin", (how){ .data = "counting.jsonl" });
}

TEST(vismin_as_published) {
    clean();
    put_pictures("images/0.png images/1.png");
    put("data.jsonl", "{\"image_0\":\"0.png\",\"text_0\":\"a\",\"image_1\":\"1.png\",\"text_1\":\"b\",\"id\":0,"
                      "\"category\":\"relation\"}\n"
                      "{\"image_0\":\"1.png\",\"text_0\":\"c\",\"image_1\":\"0.png\",\"text_1\":\"d\",\"id\":0,"
                      "\"category\":\"object\"}\n");
    EXPECT_STR(LOAD("vismin"), "relation 0 0: a | b ; images/0.png | images/1.png\n"
                               "object 0 0: c | d ; images/1.png | images/0.png\n");
    EXPECT_STR(LOAD("vismin", .splits = { "object" }), "object 0 0: c | d ; images/1.png | images/0.png\n");
}

TEST(vismin_of_training) {
    clean();
    put_pictures("original_images/a.png edited_images/b.png");
    put("train.json", "[{\"image_path\":\"a.png\",\"caption\":\"x\",\"negatives\":[{\"edited_image_path\":\"b.png\","
                      "\"edited_caption\":\"y\"},\n{\"edited_image_path\":\"b.png\",\"edited_caption\":\"z\","
                      "\"category\":\"object\",\"edit_id\":\"e\"},]},\n"
                      "{\"image_path\":\"a.png\",\"caption\":\"x\",\"negatives\":[{\"edited_image_path\":\"b.png\"}]},"
                      "{\"image_path\":\"a.png\",\"caption\":\"x\"}]");
    EXPECT_STR(
        LOAD("vismin", .data = "train.json", .on_error = EVAL_SKIP),
        "train 0-0 0: x | y ; original_images/a.png | edited_images/b.png\n"
        "object e 0: x | z ; original_images/a.png | edited_images/b.png\n"
        "- malformed train.json:3: has no field \"edited_caption\" or \"text_1\" or \"caption_1\" or \"caption1\"; its "
        "fields are: edited_image_path\n"
        "- malformed train.json:3: [2].negatives: is missing, expected an array\n");
    put("train.json",
        "[{\"image_path\":\"a.png\",\"negatives\":[{\"edited_image_path\":\"b.png\",\"edited_caption\":\"y\"}]}]");
    EXPECT_HAS(LOAD("vismin", .data = "train.json"), "!3 train.json:1: has no field \"caption\"");
    put("train.json", "{\"image_path\":\"a.png\"}");
    EXPECT_STR(LOAD("vismin", .data = "train.json"), "!3 train.json:1: expected a list of records, [ ... ]");
    put("train.json", "[3]");
    EXPECT_HAS(LOAD("vismin", .data = "train.json"), "!3 train.json:1: [0]: expected a record, { ... }");
    put("train.json", "[");
    EXPECT_HAS(LOAD("vismin", .data = "train.json"), "!3 train.json:1:2: found the end");
    put("train.json", "[]");
    EXPECT_STR(LOAD("vismin", .data = "train.json"), "!3 train.json: no records in it");
}

TEST(odd_texts) {
    clean();
    put_pictures("0.png");
#define ODD(more) "{\"image_0\":\"0.png\",\"image_1\":\"0.png\",\"caption_0\":\"x\",\"caption_1\":\"y\"" more "}"
    put("p.json", "\xef\xbb\xbf// mine\n[" ODD(",\"score\":NaN,\"tag\":null,\"tag\":null,") ",]");
    EXPECT_STR(LOAD("pairs", .data = "p.json"), "default 0 0: x | y ; 0.png | 0.png\n");
    EXPECT_HAS(said,
               "p.json: is not quite JSON: trailing commas, comments, NaN or Infinity, read as null, names that stand "
               "twice with the same value\n");
    put("p.jsonl", ODD(",\"n\":NaN") "\n\n" ODD("") "\n");
    EXPECT_STR(LOAD("pairs", .data = "p.jsonl"),
               "default 0 0: x | y ; 0.png | 0.png\ndefault 1 0: x | y ; 0.png | 0.png\n");
    EXPECT_HAS(said, "p.jsonl: is not quite JSON: NaN or Infinity, read as null\n");
    put("p.csv", "image_0,image_1,caption_0,caption_1\n0.png,0.png,a\xff" "b\xe2\x82,y\n");
    EXPECT_STR(LOAD("pairs", .data = "p.csv"), "default 0 0: a\xef\xbf\xbd" "b\xef\xbf\xbd | y ; 0.png | 0.png\n");
    EXPECT_HAS(said, "p.csv:2: byte 0xff is not UTF-8; 2 such places are read as U+FFFD\n");
    put("p.csv", "\xff\xfei\n");
    EXPECT_STR(LOAD("pairs", .data = "p.csv"), "!3 p.csv: is UTF-16; save it in UTF-8");
    put("p.json", "[" ODD(",\"tag\":\"a\",\n\"tag\":\"b\"") "]");
    EXPECT_STR(LOAD("pairs", .data = "p.json"),
               "!3 p.json:2:2: the name \"tag\" stands twice in one object, with different values");
    put("p.json", "[" ODD(""));
    EXPECT_HAS(LOAD("pairs", .data = "p.json"), "!3 p.json:1:71: found the end, expected ',' or ']'");
    put("p.jsonl", ODD(",\"tag\":\"\\ud83d\\ude00 \\ud800\"") "\n"); /* a pair of surrogates, and one alone */
    EXPECT_HAS(LOAD("pairs", .data = "p.jsonl"), "default 0 [\xf0\x9f\x98\x80 \xef\xbf\xbd] 0:");
}

TEST(winoground) {
    clean();
    put_pictures("images/ex_0_img_0.png images/ex_0_img_1.png");
#define PAIR "\"image_0\":\"ex_0_img_0\",\"image_1\":\"ex_0_img_1\",\"caption_0\":\"a b\",\"caption_1\":\"b a\""
    put("examples.jsonl", "{\"id\":0," PAIR ",\"tag\":\"Scope\",\"num_main_preds\":2,\"collapsed_tag\":\"Relation\"}\n"
                          "{\"id\":1," PAIR "}\n");
    EXPECT_STR(LOAD("winoground"),
               "default 0 [Relation] 0: a b | b a ; images/ex_0_img_0.png | images/ex_0_img_1.png\n"
               "default 1 0: a b | b a ; images/ex_0_img_0.png | images/ex_0_img_1.png\n");
    EXPECT_HAS(LOAD("winoground", .options = { "tag=num_main_preds" }), "default 0 [2] 0:");
    EXPECT_STR(LOAD("winoground", .options = { "tag=size" }),
               "!2 eval: --option tag=size: expected collapsed_tag, tag, secondary_tag or num_main_preds");
    EXPECT_HAS(LOAD("winoground", .options = { "colour=red" }), "winoground has the options tag=collapsed_tag|tag|");
    put("examples.jsonl", "{\"id\":0," PAIR "}\n{\"id\":[1]," PAIR "}\n");
    EXPECT_HAS(LOAD("winoground"), "!3 examples.jsonl:2: id: found an array of 1, expected an integer");
    put("examples.jsonl", "{\"id\":0," PAIR "}\n{\"id\":1,\"image_0\":\"ex_0_img_0\",\"image_1\":\"ex_9_img_1\","
                          "\"caption_0\":\"a\",\"caption_1\":\"b\"}\n{\"id\":0," PAIR "}\n{\"id\":3,\"im");
    EXPECT_HAS(LOAD("winoground"), "- examples.jsonl:2: id 1: picture ex_9_img_1 not found");
    EXPECT_HAS(LOAD("winoground"), "1 twice\n");
    EXPECT_HAS(said, "examples.jsonl:4:12: found the end");
    EXPECT_HAS(said, "the last line is left out; is the file cut off?");
    put("examples.jsonl", "{\"id\":0," PAIR "}\n{\"id\":1,\n{\"id\":2," PAIR "}\n");
    EXPECT_HAS(LOAD("winoground"), "!3 examples.jsonl:2:");
    EXPECT_HAS(LOAD("winoground", .on_error = EVAL_SKIP), "default 2 0:");
    starve("winoground", (how){ .data = "examples.jsonl", .on_error = EVAL_SKIP });
}

TEST(eqben) {
    clean();
    put_pictures("eqbensd/a/0.png eqbensd/a/1.jpg image_subset/eqbenag/v/s/1.png image_subset/eqbenag/v/s/2.npy x.png");
#define FLAT                                                                            \
    "{\"image0\":\"eqbensd/a/0.png\",\"image1\":\"eqbensd/a/1.png\",\"caption0\":\" a " \
    "cat\",\"caption1\":\"\xc3\xa9t\xc3\xa9.\"}"
    put("eqben_subset_10percent_final.json",
        "[" FLAT "," FLAT ",{\"image0\":\"x.png\",\"image1\":\"x.png\",\"caption0\":\"\","
        "\"caption1\":\"b\"}]");
    EXPECT_STR(LOAD("eqben"),
               "default eqbensd-a-0#0 [eqbensd] 0: A cat. | \xc3\x89t\xc3\xa9. ; eqbensd/a/0.png | eqbensd/a/1.jpg\n"
               "default eqbensd-a-0#1 [eqbensd] 0: A cat. | \xc3\x89t\xc3\xa9. ; eqbensd/a/0.png | eqbensd/a/1.jpg\n"
               "default x#2 0:  | B. ; x.png | x.png\n");
    put("all_select.json",
        "{\"video\":{\"subject\":[{\"image0\":\"/eqbenag/v/s/1.png\",\"image1\":\"eqbenag/v/s/2.npy\","
        "\"caption0\":[\"one\",\"other\"],\"caption1\":[\"two\"]}]},\"v2\":[" FLAT "]}");
    EXPECT_STR(LOAD("eqben_all"),
               "default eqbenag-v-s#0 [eqbenag] 0: One. | Two. ; image_subset/eqbenag/v/s/1.png | "
               "image_subset/eqbenag/v/s/2.npy\n"
               "default eqbensd-a-0#1 [eqbensd] 0: A cat. | \xc3\x89t\xc3\xa9. ; eqbensd/a/0.png | eqbensd/a/1.jpg\n");
    put("all_select.json", "{\"v\":[" FLAT ",\n7]}");
    EXPECT_STR(
        LOAD("eqben_all", .on_error = EVAL_SKIP),
        "default eqbensd-a-0#0 [eqbensd] 0: A cat. | \xc3\x89t\xc3\xa9. ; eqbensd/a/0.png | eqbensd/a/1.jpg\n"
        "- malformed all_select.json:2: v[1]: expected a record with image0, image1, caption0 and caption1, or a list "
        "of them\n");
    put("all_select.json",
        "[{\"image0\":\"eqbensd/a/0.png\",\"image1\":\"gone.png\",\"caption0\":\"a\",\"caption1\":\"b\"},"
        "{\"image0\":\"x.png\",\"image1\":\"x.png\",\"caption0\":[],\"caption1\":\"b\"}]");
    EXPECT_STR(LOAD("eqben_all", .on_error = EVAL_SKIP),
               "- all_select.json:1: id eqbensd-a-0#0: picture gone.png not found (looked in ; --images names further "
               "folders)\n"
               "- malformed all_select.json:1: [1].caption0[0]: is missing, expected a string\n");
    starve("eqben", (how){ 0 });
}

TEST(mmvp) {
    clean();
    put("MLLM_VLM Images/Color/1.jpg", "x"), put("MLLM_VLM Images/Color/2.jpg", "x");
    put("MMVP_VLM_Images/Text/3.jpg", "x"), put("MMVP_VLM_Images/Text/4.jpg", "x");
    put("Questions.csv",
        "Question ID,Type,Statement\n1,Color,the cup is red\n2,Color,\"a cup, blue.\"\n3,Text,yes\n4,Text,no\n");
    EXPECT_STR(LOAD("mmvp"),
               "default 1-2 [Color] 0: The cup is red. | A cup, blue. ; MLLM_VLM Images/Color/1.jpg | MLLM_VLM "
               "Images/Color/2.jpg\n"
               "default 3-4 [Text] 0: Yes. | No. ; MMVP_VLM_Images/Text/3.jpg | MMVP_VLM_Images/Text/4.jpg\n");
    EXPECT_HAS(LOAD("mmvp", .options = { "captions=raw" }), "the cup is red | a cup, blue. ;");
    put("Questions.csv", "id,type,text\n1,Color,a\n2,Color,b\n3,Text,yes\n");
    EXPECT_HAS(LOAD("mmvp"), "- Questions.csv:4: id 3: the other statement of its pair is missing\n");
    put("Questions.csv",
        "id,type,text\n1,Color,a\n2,Color\n3,Text,yes\n4,Text,no\n"); /* 3 does not become the partner of 1 */
    EXPECT_STR(LOAD("mmvp", .on_error = EVAL_SKIP),
               "default 3-4 [Text] 0: Yes. | No. ; MMVP_VLM_Images/Text/3.jpg | MMVP_VLM_Images/Text/4.jpg\n"
               "- malformed Questions.csv:3: 2 fields, expected 3 as in the first row\n"
               "- Questions.csv:2: id 1: the other statement of its pair is missing\n");
    put("Questions.csv", "id,type,text\n1,Color,a\n4,Text,b\n");
    EXPECT_HAS(LOAD("mmvp"), "!3 Questions.csv:3: pattern \"Text\", but the first row of this pair has \"Color\"");
    put("Questions.csv", "id,text\n1,a\n2,b\n");
    EXPECT_STR(LOAD("mmvp"), "!3 Questions.csv: found 2 columns, expected question id, pattern and statement");
    put("Questions.csv", "id,type,text\n1,Color,a\n9,Color,b\n");
    EXPECT_HAS(LOAD("mmvp"), "- Questions.csv:3: id 1-9: picture Color/9.jpg not found");
    char all[600] = "id,type,text\n";
    for (int k = 0; k < 18; k++) {
        char line[60], name[60];
        snprintf(line, sizeof line, "%d,p%d,s\n", k, k / 2), strcat(all, line);
        snprintf(name, sizeof name, "images/p%d/%d.jpg", k / 2, k), put(name, "x");
    }
    put("Questions.csv", all); /* nine patterns get the names of the paper, in their order */
    EXPECT_HAS(LOAD("mmvp"), "default 0-1 [Orientation and Direction] 0:");
    EXPECT_HAS(LOAD("mmvp"), "default 16-17 [Viewpoint and Perspective] 0:");
    starve("mmvp", (how){ 0 });
}

TEST(pairs) {
    clean();
    put_pictures("0.png images/1.png");
    put("mine.jsonl", "{\"id\":\"a\",\"category\":\"c\",\"image_0\":\"0.png\",\"image_1\":\"1.png\",\"caption_0\":"
                      "\"x\",\"caption_1\":\"y\"}\n"
                      "{\"image0\":\"0.png\",\"image1\":\"1.png\",\"text_0\":\"x\",\"text_1\":\"y\"}\n"
                      "{\"image_path\":\"0.png\",\"edited_image_path\":\"1.png\",\"caption\":\"x\",\"edited_caption\":"
                      "\"y\",\"tag\":\"t\"}\n");
    EXPECT_STR(LOAD("pairs", .data = "mine.jsonl"), "c a 0: x | y ; 0.png | images/1.png\n"
                                                    "default 1 0: x | y ; 0.png | images/1.png\n"
                                                    "default 2 [t] 0: x | y ; 0.png | images/1.png\n");
    put("pairs.csv", "id,image_0,image_1,caption0,caption1\n4,0.png,1.png,x,y\n5,0.png,2.png,x,y\n");
    EXPECT_STR(LOAD("pairs"),
               "default 4 0: x | y ; 0.png | images/1.png\n"
               "- pairs.csv:3: id 5: picture 2.png not found (looked in ; --images names further folders)\n");
    starve("pairs", (how){ .data = "mine.jsonl" });
    put("mine.json", "[{\"image_0\":\"0.png\",\"image_1\":\"1.png\",\"caption_0\":\"x\"}]");
    EXPECT_HAS(LOAD("pairs", .data = "mine.json"), "!3 mine.json:1: has no field \"caption_1\" or \"text_1\"");
    clean();
    EXPECT_HAS(LOAD("pairs"), "none of the files pairs.jsonl pairs.csv");
}

static void cases(void) {
    RUN(vismin_tables);
    RUN(vismin_as_published);
    RUN(vismin_of_training);
    RUN(odd_texts);
    RUN(winoground);
    RUN(eqben);
    RUN(mmvp);
    RUN(pairs);
}

int main(int argc, char **argv) { return sets_main(argc, argv, cases); }
