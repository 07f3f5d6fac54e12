/* commands.h - the list of commands, in the order of `vismin --help`. Each is one file of this folder. */
#define VM_COMMANDS(X) \
    X(train_clip) X(forward) \
    X(preprocess) \
    X(eval) X(report) \
    X(scene) \
    X(tokenize)
