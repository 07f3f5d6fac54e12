/* commands.h - the list of commands, in the order of `vismin --help`. Each is one file of this folder. */
#define VM_COMMANDS(X) \
    X(demo) X(train_clip) X(train_lm) X(train_diffusion) X(train_vae) X(train_detect) X(forward) \
    X(embed) X(detect) X(generate) X(serve) X(preprocess) \
    X(text2img) X(img2img) X(inpaint) \
    X(eval) X(eval_score) X(eval_retrieval) X(eval_detect) X(eval_classify) X(compare) X(data_check) X(report) \
    X(info) X(convert) \
    X(scene) \
    X(captions) X(instruct) X(vet) X(layout) X(magic) X(ask) \
    X(export) X(import) X(compact) X(check) \
    X(tokenize) \
    X(weights_get) X(weights_list) X(weights_verify)
