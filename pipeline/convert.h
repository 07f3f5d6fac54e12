/* convert.h - the parts of `vismin convert`. */
#ifndef VM_CONVERT_H
#define VM_CONVERT_H
#include "models/weights.h"
#include "pipeline/command.h"

/* --merge ADAPTER or --average DIR... of the model folder `from`, into the new folder `out`; both: in both published layouts. */
vm_status convert_towers(const vm_args *a, const char *from, const char *out, st_dtype type, bool both, vm_error *e);
/* --quantize: the language model in folder `from`, its layers in 8 or 4 bits, into the new folder `out`. */
vm_status convert_quantize(const vm_args *a, const char *from, const char *out, vm_error *e);

/* --text-encoder: the text half of the CLIP folder `from`, into the new folder `out`. (convert_text.c) */
vm_status convert_text(const char *from, const char *out, st_dtype type, vm_error *e);

/* Grounding DINO as IDEA-Research and MMDetection write it. (convert_detect.c) */
bool convert_is_detect(const weight_source *s);
vm_status convert_detect(const vm_args *a, const weight_source *s, const char *out, st_dtype type, vm_error *e);
#endif
