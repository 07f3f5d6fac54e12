/* info_devices.c - `vismin info --devices`: the processor, the CUDA devices and NVIDIA's libraries, or why there are none. */
#include <stdio.h>
#include <string.h>

#include "kernels/devices.h"
#include "kernels/peak.h"
#include "pipeline/info.h"
#include "pipeline/run.h"

static void processor_name(char *out, size_t size) {
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, size, "unknown processor");
    while (f && fgets(line, sizeof line, f)) {
        char *value = strncmp(line, "model name", 10) ? NULL : strchr(line, ':');
        if (!value) continue;
        value += strspn(value, ": \t");
        value[strcspn(value, "\n")] = 0;
        snprintf(out, size, "%s", value);
        break;
    }
    if (f) fclose(f);
}

typedef struct {
    char processor[200], products[64], why[1024];
    int n_cuda;
    vm_cuda_info cuda[16];
    vm_gpu_library library[VM_GPU_LIBRARIES];
} machine;

static vm_status look(machine *m, vm_error *e) {
    vm_error none = { 0 };
    processor_name(m->processor, sizeof m->processor);
    vm_gemm_library(m->products);
    m->n_cuda = VM_MIN(vm_cuda_count(&none), VM_LEN(m->cuda));
    snprintf(m->why, sizeof m->why, "%s", none.msg);
    for (int k = 0; k < m->n_cuda; k++)
        if (vm_cuda_describe(k, &m->cuda[k], e)) return e->status;
    if (vm_cuda_runtime()) vm_gpu_libraries(m->library);
    return VM_OK;
}

static const char *cuda_text(int v, char buf[32]) { return snprintf(buf, 32, "%d.%d", v / 1000, v % 1000 / 10), buf; }

static void print(const machine *m) {
    char driver[32], runtime[32];
    printf("cpu          %s\nkernels      %s\nbf16         %s\nthreads      %d\nproducts     %s\n", m->processor, vm_level_name(vm_cpu_level()),
           vm_cpu_has_bf16() ? "yes (AVX512_BF16): the default of embed, eval and train" : "no: products are f32", vm_num_threads(), m->products);
    for (int k = 0; k < m->n_cuda; k++)
        printf("cuda:%-7d %s, sm_%d, %d multiprocessors, %.1f GB of %.1f GB free\n", k, m->cuda[k].name, m->cuda[k].arch, m->cuda[k].sms,
               (double)m->cuda[k].memory_free * 1e-9, (double)m->cuda[k].memory * 1e-9);
    if (!m->n_cuda) printf("cuda         %s\n", m->why);
    if (!vm_cuda_runtime()) return;
    if (vm_cuda_driver()) printf("driver       for CUDA %s; this program has CUDA %s\n", cuda_text(vm_cuda_driver(), driver), cuda_text(vm_cuda_runtime(), runtime));
    else printf("driver       none; this program has CUDA %s\n", cuda_text(vm_cuda_runtime(), runtime));
    for (int k = 0; k < VM_GPU_LIBRARIES; k++)
        printf("%-12s %s%s\n", m->library[k].name, m->library[k].version, m->library[k].version[0] ? "" : m->library[k].why);
}

static vm_status put(const machine *m, vm_error *e) {
    char text[32];
    json_writer w = json_to_stream(stdout, JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "cpu", m->processor);
    json_put_str(&w, "kernels", vm_level_name(vm_cpu_level()));
    json_put_bool(&w, "bf16", vm_cpu_has_bf16());
    json_put_int(&w, "threads", vm_num_threads());
    json_put_str(&w, "products", m->products);
    json_put_bool(&w, "cuda", vm_cuda_runtime() != 0);
    if (!m->n_cuda) json_put_str(&w, "cuda_why_not", m->why);
    json_begin_array(&w, "cuda_devices");
    for (int k = 0; k < m->n_cuda; k++) {
        json_begin_object(&w, NULL);
        json_put_str(&w, "name", m->cuda[k].name);
        json_put_int(&w, "arch", m->cuda[k].arch);
        json_put_int(&w, "multiprocessors", m->cuda[k].sms);
        json_put_int(&w, "memory", (int64_t)m->cuda[k].memory);
        json_put_int(&w, "memory_free", (int64_t)m->cuda[k].memory_free);
        json_close_object(&w);
    }
    json_close_array(&w);
    if (vm_cuda_runtime()) {
        json_put_str(&w, "cuda_runtime", cuda_text(vm_cuda_runtime(), text));
        json_put_str(&w, "cuda_driver", vm_cuda_driver() ? cuda_text(vm_cuda_driver(), text) : NULL);
        json_begin_object(&w, "libraries");
        for (int k = 0; k < VM_GPU_LIBRARIES; k++) json_put_str(&w, m->library[k].name, m->library[k].version[0] ? m->library[k].version : NULL);
        json_close_object(&w);
    }
    json_close_object(&w);
    json_newline(&w);
    return json_end(&w, e);
}

vm_status info_devices(const vm_args *a, vm_error *e) {
    machine m = { .n_cuda = 0 };
    if (look(&m, e)) return e->status;
    if (arg_flag(a, "json")) return put(&m, e);
    print(&m);
    return VM_OK;
}
