/* detect_sheet.h - a picture of what a detector finds in scenes of the miniature world. */
#ifndef VM_DETECT_SHEET_H
#define VM_DETECT_SHEET_H
#include "models/detector.h"
#include "models/scene.h"

/* The first n scenes of a split, three times as large, `columns` in a row, with the boxes of their questions (scene_ask) above the threshold in
 * frames, and the questions below: those in red are absent from the scene. Freed by image_free. */
vm_status detect_sheet(vm_image *out, detector *d, scene_split split, int n, int columns, double threshold, vm_error *e);
#endif
