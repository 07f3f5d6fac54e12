/* test_chat.c - layouts of conversations against the published templates' results; which layout a folder has. */
#include "io/chat.h"

#include <unistd.h>

#include "io/file.h"
#include "tests/test.h"

static char folder[600];
static vm_error e;

static const char *laid_out(const char *name, int n, const chat_message *m) {
    static char out[2000];
    char *text = NULL;
    vm_error_clear(&e);
    const chat_layout *l = chat_by_name(name, &e);
    if (l) chat_text(&text, l, m, n, &e);
    snprintf(out, sizeof out, "%s", text ? text : e.msg);
    vm_free(text);
    return out;
}

TEST(layouts) {
    const chat_message all[] = { { "system", "S" }, { "user", "u1" }, { "assistant", "a1" }, { "user", "u2" } };
    static const char *const want[][2] = {
        { "mistral", "<s>[INST] S\n\nu1 [/INST]a1</s>[INST] u2 [/INST]" },
        { "mixtral", "<s> [INST] S\n\nu1 [/INST] a1</s> [INST] u2 [/INST]" },
        { "llama2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nu1 [/INST] a1 </s><s>[INST] u2 [/INST]" },
        { "llama3", "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nu1<|eot_id|>"
                    "<|start_header_id|>assistant<|end_header_id|>\n\na1<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nu2<|eot_id|>"
                    "<|start_header_id|>assistant<|end_header_id|>\n\n" },
        { "vicuna", "S USER: u1 ASSISTANT: a1</s>USER: u2 ASSISTANT:" },
        { "chatml", "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nu1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n<|im_start|>user\nu2<|im_end|>\n"
                    "<|im_start|>assistant\n" },
        { "phi3", "<|system|>\nS<|end|>\n<|user|>\nu1<|end|>\n<|assistant|>\na1<|end|>\n<|user|>\nu2<|end|>\n<|assistant|>\n" },
        { "gemma", "<bos><start_of_turn>user\nS\n\nu1<end_of_turn>\n<start_of_turn>model\na1<end_of_turn>\n<start_of_turn>user\nu2<end_of_turn>\n<start_of_turn>model\n" },
        { "raw", "S\n\nu1a1u2" },
    };
    for (int k = 0; k < VM_LEN(want); k++) EXPECT_STR(laid_out(want[k][0], 4, all), want[k][1]);
    EXPECT_STR(laid_out("mistral", 1, &all[1]), "<s>[INST] u1 [/INST]");
    EXPECT_HAS(laid_out("vicuna", 1, &all[1]), "polite answers to the user's questions. USER: u1 ASSISTANT:");
    EXPECT_STR(laid_out("chatml", 2, all + 1), "<|im_start|>user\nu1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n"); /* nothing is asked */
    EXPECT_STR(laid_out("mistral", 2, (chat_message[]){ { "user", "u" }, { "user", "v" } }), "message 2 is from \"user\", expected \"assistant\": user and "
               "assistant take turns behind at most one system text");
    EXPECT_HAS(laid_out("jinja", 0, NULL), "chat layout jinja is not known; known are idefics2, llama3,");
}

static const char *found(const char *file, const char *content) {
    char path[700];
    const chat_layout *l;
    static char out[1100];
    vm_error_clear(&e);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    EXPECT(!file_write(path, content, strlen(content), &e));
    snprintf(out, sizeof out, "%s", chat_of(&l, folder, &e) ? e.msg : l ? chat_name(l) : "none");
    unlink(path);
    return out;
}
TEST(folders) {
    EXPECT_STR(found("tokenizer_config.json", "{}"), "none");
    EXPECT_STR(found("tokenizer_config.json", "{\"chat_template\":\"{{ '<|im_start|>' + role }}\"}"), "chatml");
    EXPECT_STR(found("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"},{\"name\":\"default\",\"template\":\"[INST]\"}]}"), "mistral");
    EXPECT_STR(found("chat_template.jinja", "{{ ' [INST] ' + text }}"), "mixtral");
    EXPECT_STR(found("chat_template.json", "{\"chat_template\":\"<<SYS>> [INST]\"}"), "llama2");
    EXPECT_STR(found("chat_template.jinja", "<start_of_turn>"), "gemma");
    EXPECT_HAS(found("chat_template.jinja", "{{ nothing }}"), "chat_template.jinja: the chat template is none that is known; name one with --chat-template");
}

int main(int argc, char **argv) {
    snprintf(folder, sizeof folder, "%s/chat.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(folder)) return 1;
    RUN(layouts);
    RUN(folders);
    rmdir(folder);
    return test_end();
}
