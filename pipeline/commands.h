/* commands.h - the list of commands, in the order of `vismin --help`. Each is one file of this folder. */
#define VM_COMMANDS(X) \
    X(forward) \
    X(preprocess) \
    X(tokenize)
