/* test_eval_choices.c - loaders of benchmarks of choices, file by file; and the numbers that some add to their results.
 */
#include "tests/eval_sets.h"

TEST(valse) {
    clean();
    put_pictures("v7w_1.jpg images/2.jpg");
#define VALSE(id, votes, image, foil)                                             \
    "\"" id "\":{\"image_file\":\"" image "\",\"caption\":\"c\",\"foil\":\"" foil \
    "\",\"classes_foil\":[1],\"mturk\":{\"foil\":0,\"caption\":" votes ",\"other\":0}}"
    put("existence.json", "{" VALSE("a", "3", "v7w_1.jpg", "f") "," VALSE("b", "2", "v7w_1.jpg", "f") ","
                          VALSE("c", "1", "v7w_1.jpg", "f") "," VALSE("d", "3", "2.jpg", "c") "}");
    put("action-replacement.json", "{" VALSE("a", "3", "9.jpg", "f") "}");
    EXPECT_STR(
        LOAD("valse_v2"),
        "existence a 0: c | f ; v7w_1.jpg\nexistence b 0: c | f ; v7w_1.jpg\nexistence d 0: c | c ; images/2.jpg\n"
        "- action-replacement.json:1: id a: picture 9.jpg not found (looked in ; --images names further folders)\n");
    EXPECT_HAS(said, "has no foil-it.json; the split foil_it is left out");
    EXPECT_STR(LOAD("valse_v2", .data = "existence.json", .options = { "filter=strict" }),
               "existence a 0: c | f ; v7w_1.jpg\nexistence d 0: c | c ; images/2.jpg\n");
    EXPECT_STR(LOAD("valse_v2", .splits = { "existence" }, .options = { "filter=none" }),
               "existence a 0: c | f ; v7w_1.jpg\nexistence b 0: c | f ; v7w_1.jpg\nexistence c 0: c | f ; v7w_1.jpg\n"
               "existence d 0: c | c ; images/2.jpg\n");
    EXPECT_STR(LOAD("valse_v2", .options = { "filter=all" }),
               "!2 eval: --option filter=all: expected official, strict or none");
    put("existence.json",
        "{" VALSE("a", "3", "v7w_1.jpg",
                  "f") ",\n\"b\":{\"image_file\":\"v7w_1.jpg\",\"caption\":\"c\",\"foils\":[\"f\"]}}");
    EXPECT_HAS(LOAD("valse_v2", .data = "existence.json"),
               "!3 existence.json:2: has no field \"foil\"; its fields are: image_file, caption, foils");
    put("existence.json", "{\"b\":{\"image_file\":\"v7w_1.jpg\",\"caption\":\"c\",\"foil\":\"f\"}}");
    EXPECT_HAS(LOAD("valse_v2", .data = "existence.json"),
               "!3 existence.json:1: b.mturk: is missing, expected an integer from 0 to 3");
    put("existence.json", "{" VALSE("a", "3", "v7w_1.jpg", "f") "," VALSE("a", "3", "v7w_1.jpg", "g") "}");
    EXPECT_HAS(LOAD("valse_v2", .data = "existence.json"), "the name \"a\" stands twice in one object");
    put("existence.json", "[]");
    EXPECT_HAS(LOAD("valse_v2", .data = "existence.json"), "expected an object with a record for each id, { ... }");
    put("other.json", "{}");
    EXPECT_HAS(LOAD("valse_v2", .data = "other.json"),
               "!3 other.json: the name of the file tells no split; expected existence.json, plurals.json");
    put("existence.json", "{" VALSE("a", "3", "v7w_1.jpg", "f") "}");
    starve("valse_v2", (how){ .data = "existence.json" });
    clean();
    EXPECT_HAS(LOAD("valse_v2"), "!3 : none of the files existence.json, plurals.json");
}

TEST(sugarcrepe) {
    clean();
    put_pictures("val2017/1.jpg");
#define CREPE "{\"filename\":\"1.jpg\",\"caption\":\"c\",\"negative_caption\":\"n\"}"
    put("swap_obj.json",
        "{\"10\":" CREPE ",\"9\":" CREPE ",\"108\":" CREPE "}"); /* the order of numbers, not of texts */
    EXPECT_STR(LOAD("sugarcrepe"), "swap_obj 9 0: c | n ; val2017/1.jpg\nswap_obj 10 0: c | n ; "
                                   "val2017/1.jpg\nswap_obj 108 0: c | n ; val2017/1.jpg\n");
    EXPECT_HAS(said, "swap_obj.json: has record 108, which its authors withdrew; the current file has 245 records");
    put("swap_obj.json", "{\"1\":" CREPE ",\n\"x\":" CREPE
                         ",\"2\":{\"filename\":\"2.jpg\",\"caption\":\"c\",\"negative_caption\":\"n\"}}");
    EXPECT_STR(
        LOAD("sugarcrepe"),
        "!3 swap_obj.json:2: x: the name of the record is no decimal number (--on-error skip leaves such records out)");
    EXPECT_STR(LOAD("sugarcrepe", .on_error = EVAL_SKIP), "swap_obj 1 0: c | n ; val2017/1.jpg\n"
               "- malformed swap_obj.json:2: x: the name of the record is no decimal number\n"
               "- swap_obj.json:2: id 2: picture 2.jpg not found (looked in ; --images names further folders)\n");
    put("swap_obj.json", "{\"1\":{\"filename\":\"1.jpg\",\"caption\":\"c\"}}");
    EXPECT_HAS(LOAD("sugarcrepe"), "!3 swap_obj.json:1: has no field \"negative_caption\"");
    put("swap_obj.json", "{\"1\":" CREPE "}");
    starve("sugarcrepe", (how){ 0 });
}

TEST(whatsup) {
    clean();
    put_pictures("controlled_images/mug_left_of_on_table.jpeg controlled_images/mug_on_table.jpeg "
                 "controlled_clevr/a_in-front_of_b.jpeg");
#define FOUR                                                                                                    \
    "[\"A mug to the left of a table\",\"A mug to the right of a table\",\"A mug on a table\",\"A mug under a " \
    "table\"]"
#define ON                                                                                                      \
    "[\"A mug on a table\",\"A mug to the left of a table\",\"A mug under a table\",\"A mug to the right of a " \
    "table\"]"
    put("controlled_images_dataset.json",
        "[{\"image_path\":\"data/controlled_images/mug_on_table.jpeg\",\"caption_options\":" ON "}]");
    EXPECT_STR(LOAD("whatsup_controlled"), "default mug_on_table [on] {mug_table} 0: A mug on a table | A mug to the "
                                           "left of a table | A mug under a table | "
                                           "A mug to the right of a table ; controlled_images/mug_on_table.jpeg\n");
    EXPECT_STR(said, "");
    EXPECT_STR(LOAD("whatsup_controlled", .options = { "options=2" }),
               "default mug_on_table [on] {mug_table} 0: A mug on a table | A mug under a table ; "
               "controlled_images/mug_on_table.jpeg\n");
    put("controlled_clevr_dataset.json", "[{\"image_path\":\"a_in-front_of_b.jpeg\",\"caption_options\":[\"a behind "
                                         "b\",\"a in front of b\",\"x\",\"y\"]}]");
    EXPECT_HAS(LOAD("whatsup_clevr"), "default a_in-front_of_b [front] {a_b} 0: a behind b");
    EXPECT_HAS(said, "the first caption, \"a behind b\", is not what the name a_in-front_of_b.jpeg says");
    EXPECT_HAS(LOAD("whatsup_clevr", .options = { "options=2" }),
               "!3 controlled_clevr_dataset.json:1: none of the wrong captions has \"behind\"");
    put("controlled_images_dataset.json", "[{\"image_path\":\"mug_table.jpeg\",\"caption_options\":" FOUR "}]");
    EXPECT_HAS(LOAD("whatsup_controlled"), "image_path mug_table.jpeg: expected OBJECT_PREPOSITION_OBJECT.jpeg");
    put("controlled_images_dataset.json", "[{\"image_path\":\"mug_on_table.jpeg\",\"caption_options\":[\"a\",\"b\"]}]");
    EXPECT_HAS(LOAD("whatsup_controlled"), "[0].caption_options: found 2 captions, expected 4");
    put("controlled_images_dataset.json", "[{\"image_path\":\"mug_under_table.jpeg\",\"caption_options\":" FOUR "}]");
    EXPECT_HAS(LOAD("whatsup_controlled"),
               "- controlled_images_dataset.json:1: id mug_under_table: picture mug_under_table.jpeg not found");
    put("controlled_images_dataset.json", "[{\"image_path\":\"mug_on_table.jpeg\",\"caption_options\":" ON
                                          "},{\"image_path\":\"mug_on_table.jpeg\",\"caption_options\":" ON "}]");
    EXPECT_HAS(LOAD("whatsup_controlled"), "1 twice\n");
    starve("whatsup_controlled", (how){ .options = { "options=2" } });
}

TEST(spatial) {
    clean();
    put_pictures("val2017/000000000007.jpg vg_images/7.jpg");
    put("phone/coco_qa_two_obj.json",
        "[[7,\"a cat left of a dog\",\"a cat right of a dog\"],[\"7\",\"a cat under a dog.\",\"x\"]]");
    put("coco_qa_one_obj.json", "[[7,\"a cat on the top\",\"a cat on the bottom\"]]");
    put("vg_qa_two_obj.json", "[[7,\"a cat in front of a dog\",\"x\"],[7,\"a cat on a dog\",\"x\"],[8,\"a\",\"b\"]]");
    EXPECT_STR(LOAD("coco_spatial"),
               "one 0 [top] 0: A cat on the top. | A cat on the bottom. ; val2017/000000000007.jpg\n");
    /* the split is that of the file's name, whatever the folder is called; pictures stand beside the folder here */
    EXPECT_HAS(LOAD("coco_spatial", .data = "phone/coco_qa_two_obj.json"),
               "- phone/coco_qa_two_obj.json:1: id 0: picture 000000000007.jpg");
    put_pictures("phone/000000000007.jpg");
    EXPECT_STR(LOAD("coco_spatial", .data = "phone/coco_qa_two_obj.json"),
               "two 0 [left of] 0: A cat left of a dog. | A cat right of a dog. ; phone/000000000007.jpg\n"
               "two 1 [below] 0: A cat under a dog. | X. ; phone/000000000007.jpg\n");
    EXPECT_STR(LOAD("gqa_spatial"),
               "two 0 [front of] 0: A cat in front of a dog. | X. ; vg_images/7.jpg\ntwo 1 [top] 0: A cat on a dog. | "
               "X. ; vg_images/7.jpg\n"
               "- vg_qa_two_obj.json:1: id 2: picture 8.jpg not found (looked in ; --images names further folders)\n");
    put("coco_qa_one_obj.json", "[[7,\"a\"]]");
    EXPECT_HAS(LOAD("coco_spatial"),
               "!3 coco_qa_one_obj.json:1: [0]: expected [picture number, right caption, wrong caption]");
    put("coco_qa_one_obj.json", "[[-7,\"a\",\"b\"]]");
    EXPECT_HAS(LOAD("coco_spatial"), "[0][0]: found -7, expected an integer of at least 0");
    starve("gqa_spatial", (how){ 0 });
}

TEST(spec) {
    clean();
    put_pictures("count/0.jpg count/1.jpg");
    put("count/image2text.json", "[{\"query\":\"0.jpg\",\"keys\":[\"one\",\"two\",\"three\"],\"label\":2}]");
    put("count/text2image.json", "[{\"query\":\"two\",\"keys\":[\"0.jpg\",\"1.jpg\"],\"label\":1},{\"query\":\"two\","
                                 "\"keys\":[\"0.jpg\",\"2.jpg\"],\"label\":1}]");
    EXPECT_STR(LOAD("spec_i2t"), "count 0 2: one | two | three ; count/0.jpg\n");
    EXPECT_STR(
        LOAD("spec_t2i"),
        "count 0 1: two ; count/0.jpg | count/1.jpg\n"
        "- count/text2image.json:1: id 1: picture 2.jpg not found (looked in ; --images names further folders)\n");
    EXPECT_HAS(LOAD("spec_t2i", .data = "count/text2image.json"), "count 0 1:");
    put("text2image.json", "[]");
    EXPECT_HAS(LOAD("spec_t2i", .data = "text2image.json"), "tells no split");
    put("count/image2text.json", "[{\"query\":\"0.jpg\",\"keys\":[\"one\",\"two\"],\"label\":2}]");
    EXPECT_HAS(LOAD("spec_i2t"), "!3 count/image2text.json:1: label: found 2, expected 0 to 1");
    put("count/image2text.json", "[{\"query\":\"0.jpg\",\"keys\":[\"one\"],\"label\":0}]");
    EXPECT_HAS(LOAD("spec_i2t"), "keys: found 1 options, expected 2 to 64");
    starve("spec_t2i", (how){ .data = "count/text2image.json" });
}

TEST(imagecode) {
    clean();
    put_pictures("image-sets/open-images-1/img2.jpg image-sets/open-images-1/img10.jpg "
                 "image-sets/open-images-1/img1.jpg image-sets/open-images-1/notes.txt");
    put("valid_simple.json",
        "[{\"directory\":\"open-images-1\",\"pos_idx\":2,\"neg_idx\":0,\"caption\":\" a cup \\u00a0\"}]");
    EXPECT_STR(
        LOAD("imagecode"),
        "default 0 [open-images] 0: a cup ; image-sets/open-images-1/img10.jpg | image-sets/open-images-1/img1.jpg\n");
#define CODE(dir, pos, neg) "[{\"directory\":\"" dir "\",\"pos_idx\":" pos ",\"neg_idx\":" neg ",\"caption\":\"c\"}]"
    put("valid_simple.json", CODE("open-images-1", "3", "0"));
    EXPECT_HAS(LOAD("imagecode"), "!3 valid_simple.json:1: picture 3 of open-images-1, which has 3");
    put("valid_simple.json", CODE("open-images-1", "10", "0"));
    EXPECT_HAS(LOAD("imagecode"), "pos_idx: found 10, expected an integer from 0 to 9");
    put("valid_simple.json", CODE("open-images-1", "1", "1"));
    EXPECT_HAS(LOAD("imagecode"), "pos_idx and neg_idx are both 1");
    put("valid_simple.json", CODE("../x", "1", "0"));
    EXPECT_HAS(LOAD("imagecode"), "directory ../x: a name below image-sets/ is expected");
    put("valid_simple.json", CODE("video-2", "1", "0"));
    EXPECT_STR(LOAD("imagecode"),
               "- valid_simple.json:1: folder image-sets/video-2 not found; --images names further folders\n");
    char name[60];
    for (int k = 0; k < 10; k++) snprintf(name, sizeof name, "image-sets/v/img%d.jpg", 7 * k), put(name, "x");
    put("valid_data.json", "{\"v\":{\"0\":\"first\",\"9\":\"last \"}}");
    EXPECT_HAS(LOAD("imagecode", .options = { "task=full" }),
               "default v-9 [video] 9: last ; image-sets/v/img0.jpg | image-sets/v/img7.jpg |");
    put("valid_data.json", "{\"v\":{\"10\":\"x\"}}");
    EXPECT_HAS(LOAD("imagecode", .options = { "task=full" }), "picture 10 of v, expected 0 to 9");
    put_pictures("image-sets/v/img99.jpg");
    put("valid_simple.json", CODE("v", "1", "0"));
    EXPECT_HAS(LOAD("imagecode"), "found 11 pictures, expected at most 10");
    put("valid_simple.json", CODE("open-images-1", "1", "0"));
    starve("imagecode", (how){ 0 });
}

TEST(countbench) {
    clean();
    put_pictures("images/a.jpg images/b.png images/mapped.jpg images/00002.jpg");
#define COUNT(url, text, number) "{\"image_url\":\"" url "\",\"text\":\"" text "\",\"number\":" number "}"
    put("CountBench.json", "[" COUNT("http://x/a.jpg?w=3", "TWO cups, two plates", "2") "]");
    EXPECT_STR(LOAD("countbench"), "default 0 [two] 0: TWO cups, two plates | THREE cups, two plates | FOUR cups, two "
                                   "plates | FIVE cups, two plates | "
                                   "SIX cups, two plates | SEVEN cups, two plates | EIGHT cups, two plates | NINE "
                                   "cups, two plates | TEN cups, two plates ; images/a.jpg\n");
    put("CountBench.json", "[" COUNT("http://x/a.jpg", "Often Ten", "10") "]"); /* a whole word, in its case */
    EXPECT_HAS(LOAD("countbench"), "default 0 [ten] 8: Often Two | Often Three |");
    char one[200], other[600];
    snprintf(one, sizeof one, "%s", LOAD("countbench", .options = { "foils=1" }, .seed = 1));
    EXPECT_STR(LOAD("countbench", .options = { "foils=1" }, .seed = 1), one);
    int different = 0;
    for (uint64_t seed = 2; seed < 12; seed++) {
        snprintf(other, sizeof other, "%s", LOAD("countbench", .options = { "foils=1" }, .seed = seed));
        EXPECT_HAS(other, " | Often Ten ;");
        different += strcmp(one, other) != 0;
    }
    EXPECT(different > 3);
    EXPECT_HAS(LOAD("countbench", .options = { "foils=8" }), "default 0 [ten] 8: Often Two | Often Three |");
    EXPECT_HAS(LOAD("countbench", .options = { "foils=9" }), "!2 eval: --option foils=9: expected all, 1,");
    /* the end of an address that two have says nothing; then a map, the SHA-1 of the address, or the row decide */
    put("CountBench.json", "[" COUNT("http://x/a.jpg", "two", "2") "," COUNT("http://y/a.jpg", "two", "2") "," COUNT(
                               "http://z/c", "two", "2") "]");
    EXPECT_HAS(LOAD("countbench"),
               "- CountBench.json:1: id 0: picture b8bf5ea500b92b891faeba856fbbe0036d46c90d not found");
    put_pictures("images/0ba7fae6745e5d3d2efad25fe37c7eba1c8c6bcf.webp");
    snprintf(other, sizeof other, "%s", LOAD("countbench", .options = { "foils=1" }));
    EXPECT_HAS(other, "default 1 [two] 0: two |");
    EXPECT_HAS(other, "; images/0ba7fae6745e5d3d2efad25fe37c7eba1c8c6bcf.webp\n");
    EXPECT_HAS(other, "; images/00002.jpg\n");
    put("CountBench.json", "[" COUNT("http://x/a.jpg", "a cup", "2") "]");
    EXPECT_STR(LOAD("countbench"), "- CountBench.json:1: id 0: the caption lacks the word \"two\"\n");
    put("CountBench.json", "[" COUNT("http://x/a.jpg", "two", "11") "]");
    EXPECT_HAS(LOAD("countbench"), "!3 CountBench.json:1: [0].number: found 11, expected an integer from 2 to 10");
    char map[700], option[700];
    snprintf(map, sizeof map, "http://x/b.jpg\tmapped.jpg\n"), put("map.tsv", map);
    snprintf(option, sizeof option, "image-map=%s/map.tsv", root);
    put("CountBench.json", "[" COUNT("http://x/b.jpg", "two", "2") "]");
    EXPECT_HAS(LOAD("countbench", .options = { option }), "; images/mapped.jpg");
    put("map.tsv", "http://x/b.jpg\n");
    EXPECT_HAS(LOAD("countbench", .options = { option }),
               "map.tsv:1: found 1 fields, expected an address, a tab and a file");
    put("data.jsonl",
        "{\"image\":\"images/mapped.jpg\",\"image_url\":\"http://x/a.jpg\",\"text\":\"two\",\"number\":2}\n");
    EXPECT_HAS(LOAD("countbench", .data = "data.jsonl"), "; images/mapped.jpg\n");
    starve("countbench", (how){ 0 });
}

TEST(vsr) {
    clean();
    put_pictures("train2017/1.jpg");
#define VSR(image, caption, relation, label)                                                            \
    "{\"image\":\"" image "\",\"caption\":\"" caption "\",\"label\":" label ",\"relation\":\"" relation \
    "\",\"vote_true_validator_id\":\"[2]\",\"reference_frame\":null}\n"
    put("random/dev.jsonl",
        VSR("1.jpg", "The person is on the bed.", "on", "1") VSR("1.jpg", "The cat is left of the dog.", "left of", "0")
            VSR("1.jpg", "The cake consists of the dog.", "consists of", "1")
                VSR("2.jpg", "The cat is by the dog.", "by", "1"));
    put("zeroshot/dev.jsonl", VSR("1.jpg", "The cat is across the road.", "across", "1")
                                  VSR("1.jpg", "The cat is abaft the dog.", "abaft", "1"));
    EXPECT_STR(
        LOAD("vsr"),
        "random_dev 0 [Topological] 0: The person is on the bed. | The person is not on the bed. ; train2017/1.jpg\n"
        "random_dev 2 [Topological] 0: The cake consists of the dog. | The cake does not consist of the dog. ; "
        "train2017/1.jpg\n"
        "- random/dev.jsonl:4: id 3: picture 2.jpg not found (looked in ; --images names further folders)\n");
    EXPECT_HAS(LOAD("vsr", .options = { "negation=original" }), "| The persnot on is not on the bed. ;");
    EXPECT_HAS(LOAD("vsr", .options = { "negation=original" }), "does not consists of");
    EXPECT_STR(
        LOAD("vsr", .options = { "task=truth" }),
        "random_dev 0 [Topological] 0: The person is on the bed. | The person is not on the bed. ; train2017/1.jpg\n"
        "random_dev 1 [Projective] 1: The cat is left of the dog. | The cat is not left of the dog. ; train2017/1.jpg\n"
        "random_dev 2 [Topological] 0: The cake consists of the dog. | The cake does not consist of the dog. ; "
        "train2017/1.jpg\n"
        "- random/dev.jsonl:4: id 3: picture 2.jpg not found (looked in ; --images names further folders)\n");
    EXPECT_HAS(LOAD("vsr", .splits = { "zeroshot_dev" }),
               "zeroshot_dev 0 [Directional] 0: The cat is across the road. | The cat is not across the road.");
    EXPECT_HAS(LOAD("vsr", .splits = { "zeroshot_dev" }),
               "zeroshot_dev 1 [Unallocated] 0: The cat is abaft the dog. | The cat is not abaft the dog.");
    EXPECT_HAS(LOAD("vsr", .splits = { "zeroshot_dev" }, .options = { "negation=original" }), "not accross the road");
    put_pictures("random/train2017/1.jpg zeroshot/1.jpg");
    EXPECT_HAS(LOAD("vsr", .data = "random"), "random_dev 0 ");
    EXPECT_HAS(LOAD("vsr", .data = "zeroshot/dev.jsonl"), "zeroshot_dev 0 ");
    put("random/dev.jsonl", VSR("1.jpg", "The cat is on the dog.", "under", "1"));
    EXPECT_HAS(LOAD("vsr"),
               "!3 random/dev.jsonl:1: the caption \"The cat is on the dog.\" lacks its relation \"under\"");
    put("random/dev.jsonl", VSR("1.jpg", "The cat is on the dog.", "on", "2"));
    EXPECT_HAS(LOAD("vsr"), "!3 random/dev.jsonl:1: label: found 2, expected an integer from 0 to 1");
    starve("vsr", (how){ .data = "zeroshot/dev.jsonl" });
}

TEST(aro) {
    clean();
    put_pictures("images/1.jpg");
#define BOX(w)                                                          \
    "\"image_path\":\"1.jpg\",\"bbox_x\":5,\"bbox_y\":-1,\"bbox_w\":" w \
    ",\"bbox_h\":9,\"true_caption\":\"t\",\"false_caption\":\"f\""
    put("visual_genome_relation.json",
        "[{" BOX("7") ",\"relation_name\":\"on\"},{" BOX("0") ",\"relation_name\":\"in\"}]");
    EXPECT_STR(LOAD("aro_vg_relation"),
               "default 0 [on] 1: f | t ; images/1.jpg (5 -1 7 9)\ndefault 1 [in] 1: f | t ; images/1.jpg\n");
    EXPECT_HAS(said, "visual_genome_relation.json:1: a box of 0x9 pixels; the whole picture counts");
    put("visual_genome_attribution.json", "[{" BOX("7") ",\"attributes\":[\"red\",\"wet\"]}]");
    EXPECT_STR(LOAD("aro_vg_attribution"), "default 0 [red_wet] 1: f | t ; images/1.jpg (5 -1 7 9)\n");
    starve("aro_vg_attribution", (how){ 0 });
    put("visual_genome_attribution.json", "[{" BOX("7") ",\"attributes\":[\"red\"]}]");
    EXPECT_HAS(LOAD("aro_vg_attribution"), "attributes[1]: is missing, expected a string");
    put("visual_genome_relation.json", "[{" BOX("1.5") ",\"relation_name\":\"on\"}]");
    EXPECT_HAS(LOAD("aro_vg_relation"), "bbox_w: found 1.5, expected an integer");
    put("aro_coco_order.json",
        "[{\"image\":\"1.jpg\",\"caption_options\":[\"a b\",\"b "
        "a\",\"c\",\"d\",\"e\"]},{\"image\":\"2.jpg\",\"caption_options\":[\"a b\",\"b a\",\"c\",\"d\",\"e\"]}]");
    EXPECT_STR(LOAD("aro_coco_order"), "default 0 0: a b | b a | c | d | e ; images/1.jpg\n- aro_coco_order.json:1: id "
                                       "1: picture 2.jpg not found (looked in ; --images names further folders)\n");
    put("aro_flickr_order.json", "[{\"image\":\"1.jpg\",\"caption_options\":[\"a b\"]}]");
    EXPECT_HAS(LOAD("aro_flickr_order"),
               "caption_options: found 1 captions, expected the right one and 4 in other orders");
    starve("aro_coco_order", (how){ 0 });
}

TEST(choice) {
    clean();
    put_pictures("images/0.png images/1.png");
    put("choice.jsonl", "{\"id\":5,\"image\":\"0.png\",\"captions\":[\"a\",\"b\",\"c\"],\"label\":1,\"tag\":\"t\"}\n"
                        "{\"images\":[\"0.png\",\"1.png\"],\"caption\":\"a\",\"label\":0,\"category\":\"k\"}\n");
    EXPECT_STR(LOAD("choice"), "default 5 [t] 1: a | b | c ; images/0.png\nk 1 0: a ; images/0.png | images/1.png\n");
    put("c.csv", "image,caption_0,caption_1,caption_2,label\n0.png,a,b,,1\n0.png,a,b,c,2\n");
    EXPECT_STR(LOAD("choice", .data = "c.csv"),
               "default 0 1: a | b ; images/0.png\ndefault 1 2: a | b | c ; images/0.png\n");
    put("c.csv", "image_0\timage_1\tcaption\tlabel\n0.png\t1.png\ta\t1\n0.png\t1.png\ta\tx\n");
    EXPECT_HAS(LOAD("choice", .data = "c.csv"),
               "!3 c.csv:3: label: found \"x\", expected an integer from 0 to 2147483647");
    EXPECT_HAS(LOAD("choice", .data = "c.csv", .on_error = EVAL_SKIP),
               "default 0 1: a ; images/0.png | images/1.png\n");
    put("c.json", "[{\"image\":\"0.png\",\"captions\":[\"a\",\"b\"],\"label\":2}]");
    EXPECT_HAS(LOAD("choice", .data = "c.json"), "!3 c.json:1: label: found 2, expected 0 to 1");
    put("c.json", "[{\"images\":[\"0.png\",\"1.png\"],\"captions\":[\"a\",\"b\"],\"label\":0}]");
    EXPECT_HAS(LOAD("choice", .data = "c.json"),
               "found 2 captions and 2 pictures, expected one of the one and at least two of the other");
    put("c.json", "[{\"image\":\"0.png\",\"caption\":\"a\"}]");
    EXPECT_HAS(LOAD("choice", .data = "c.json"), "has no field \"label\"");
    put("c.json", "[{\"image\":\"9.png\",\"captions\":[\"a\",\"b\"],\"label\":0}]");
    EXPECT_HAS(LOAD("choice", .data = "c.json"), "- c.json:1: id 0: picture 9.png not found");
    starve("choice", (how){ .data = "choice.jsonl" });
}

/* --- numbers beside the accuracy ---------------------------------------------------------------------------------- */
/* The value of a further number after scores (K an item, in order); NaN when there is none. */
static double extra(const char *dataset, how h, const float *scores, const char *scope, const char *name, int64_t *n) {
    vm_error e = { 0 };
    eval_set *s = load_set(dataset, &h, &e);
    double v = NAN;
    if (!s) {
        MISMATCH("%s\n", e.msg);
        return v;
    }
    eval_result *r = eval_result_new(s, eval_find_rule(s->kind, NULL, &e), "m", &e);
    for (int64_t i = 0; i < s->n; i++) {
        int k = eval_n_scores(&s->item[i]);
        memcpy(r->s + s->item[i].at, scores, (size_t)k * sizeof *scores);
        r->score[i].scored = true, scores += k;
    }
    const eval_dataset *d = eval_find_dataset(dataset, &e);
    EXPECT(!eval_result_tally(r, &e) && !eval_result_extras(r, d, &e));
    for (int64_t k = 0; k < r->extras.n; k++)
        if (!strcmp(r->extras.row[k].scope, scope) && !strcmp(r->extras.row[k].name, name))
            v = r->extras.row[k].v.value, *n = r->extras.row[k].n;
    eval_result_free(r), eval_set_free(s);
    EXPECT(vm_mem_used() == 0);
    return v;
}

TEST(further_numbers) {
    int64_t n = 0;
    clean();
    put_pictures("1.jpg images/1.jpg a_left_of_b.jpeg a_right_of_b.jpeg a_on_b.jpeg a_under_b.jpeg c_left_of_b.jpeg "
                 "c_right_of_b.jpeg");
#define UP(name, word) "{\"image_path\":\"" name ".jpeg\",\"caption_options\":[\"" word "\",\"x\",\"y\",\"z\"]}"
    put("controlled_images_dataset.json",
        "[" UP("a_left_of_b", "left") "," UP("a_right_of_b", "right") "," UP("a_on_b", "on") "," UP(
            "a_under_b", "under") "," UP("c_left_of_b", "left") "," UP("c_right_of_b", "right") "]");
    const float good[4] = { 1, 0, 0, 0 };
    float s[24];
    for (int i = 0; i < 6; i++) memcpy(s + 4 * i, good, sizeof good);
    s[8] = -1; /* "on" is wrong: one of three pairs, and the only whole set */
    EXPECT_NEAR(extra("whatsup_controlled", (how){ 0 }, s, "overall", "pair accuracy", &n), 2.0 / 3, 1e-12);
    EXPECT(n == 3);
    EXPECT_NEAR(extra("whatsup_controlled", (how){ 0 }, s, "overall", "set accuracy", &n), 0, 0);
    EXPECT(n == 1);
    s[8] = 1;
    EXPECT_NEAR(extra("whatsup_controlled", (how){ 0 }, s, "overall", "set accuracy", &n), 1, 0);

    put("replace_obj.json", "{\"0\":{\"filename\":\"1.jpg\",\"caption\":\"a\",\"negative_caption\":\"b\"},\"1\":{"
                            "\"filename\":\"1.jpg\",\"caption\":\"a\",\"negative_caption\":\"c\"}}");
    put("replace_att.json", "{\"0\":{\"filename\":\"1.jpg\",\"caption\":\"a\",\"negative_caption\":\"b\"}}");
    EXPECT_NEAR(extra("sugarcrepe", (how){ 0 }, (float[]){ 1, 0, 0, 1, 1, 0 }, "average", "replace", &n), 0.75, 1e-12);
    EXPECT(n == 3 && isnan(extra("sugarcrepe", (how){ 0 }, (float[]){ 1, 0, 0, 1, 1, 0 }, "average", "swap", &n)));

    put("visual_genome_relation.json", "[{" BOX("7") ",\"relation_name\":\"on\"},{" BOX(
                                           "7") ",\"relation_name\":\"on\"},{" BOX("7") ",\"relation_name\":\"in\"}]");
    EXPECT_NEAR(
        extra("aro_vg_relation", (how){ 0 }, (float[]){ 0, 1, 1, 0, 0, 1 }, "overall", "mean over relations", &n), 0.75,
        1e-12);
    char attributes[9000] = "[";
    for (int k = 0; k < 26; k++) /* 25 cases count, one does not */
        snprintf(attributes + strlen(attributes), sizeof attributes - strlen(attributes),
                 "%s{" BOX("7") ",\"attributes\":[\"%s\",\"b\"]}", k ? "," : "", k < 25 ? "a" : "x");
    put("visual_genome_attribution.json", strcat(attributes, "]"));
    float many[52];
    for (int k = 0; k < 26; k++) many[2 * k] = k >= 5, many[2 * k + 1] = k < 5; /* 5 of 25; then wrong */
    EXPECT_NEAR(
        extra("aro_vg_attribution", (how){ 0 }, many, "overall", "mean over pairs of attributes with 25 cases", &n),
        0.2, 1e-12);
    EXPECT(n == 25);

    put("dev.jsonl", VSR("1.jpg", "A is on B.", "on", "1") VSR("1.jpg", "A is on C.", "on", "1")
                         VSR("1.jpg", "A is on D.", "on", "0"));
    put("random/dev.jsonl", VSR("1.jpg", "A is on B.", "on", "1") VSR("1.jpg", "A is on C.", "on", "1")
                                VSR("1.jpg", "A is by D.", "by", "0"));
    put_pictures("random/1.jpg");
    /* the true captions have 3 and 1, the false one 2 */
    EXPECT_NEAR(
        extra("vsr", (how){ .options = { "task=truth" } }, (float[]){ 3, 0, 1, 0, 2, 0 }, "random_dev", "auroc", &n),
        0.5, 1e-12);
    EXPECT(n == 3 && isnan(extra("vsr", (how){ .options = { "task=truth" } }, (float[]){ 3, 0, 1, 0, 2, 0 },
                                 "random_dev", "auroc Topological", &n)));

    put("coreference-standard.json", "{" VALSE("a", "3", "1.jpg", "f") "}");
    put("coreference-hard.json", "{" VALSE("a", "3", "1.jpg", "f") "," VALSE("b", "3", "1.jpg", "g") "}");
    EXPECT_NEAR(extra("valse_v2", (how){ 0 }, (float[]){ 1, 0, 0, 1, 0, 1 }, "group Coreference", "acc_r", &n), 1.0 / 3,
                1e-12);
    EXPECT_NEAR(extra("valse_v2", (how){ 0 }, (float[]){ 1, 0, 0, 1, 0, 1 }, "coref", "acc_r", &n), 1, 1e-12);
    EXPECT(n == 1);
}

static void cases(void) {
    RUN(valse);
    RUN(sugarcrepe);
    RUN(whatsup);
    RUN(spatial);
    RUN(spec);
    RUN(imagecode);
    RUN(countbench);
    RUN(vsr);
    RUN(aro);
    RUN(choice);
    RUN(further_numbers);
}

int main(int argc, char **argv) { return sets_main(argc, argv, cases); }
