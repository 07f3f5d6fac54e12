"""UNets and the autoencoder of latent diffusion in torch (diffusers, channels-last, random weights) beside ours, in pairs: each round runs one row
in both programs right after each other, one thread, process CPU clock, with the same model files, which are made in $WORK once. Prints one
JSON line a row: medians, the ratios' median and range, and what each program takes of memory beyond the weights and what it began with.

    WORK=folder  diffusion.py BENCH_PROGRAM [ROUNDS] [f32|bf16|all] [ROW...]

Rows: "sd2 b1", "sd2 b2", "vae decode", "vae encode"; only when named: "sdxl b1". stable-diffusion.cpp is not among the peers: it is in no
package registry.
"""
import json, os, sys

from measure import apart, compared, ours, peak_of, rows_of, seconds, status_mb

WORK, PROGRAM = os.environ["WORK"], sys.argv[1]
UNET = dict(in_channels=9, out_channels=4, use_linear_projection=True, layers_per_block=2)
SD2 = dict(UNET, sample_size=64, block_out_channels=(320, 640, 1280, 1280), attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024)
SDXL = dict(UNET, sample_size=128, block_out_channels=(320, 640, 1280), attention_head_dim=(5, 10, 20), transformer_layers_per_block=[1, 2, 10],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=2048, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
VAE = dict(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
           layers_per_block=2, latent_channels=4, sample_size=512)


def work(row, dtype):
    """The evaluation, and MB of the weights."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    torch.set_num_threads(1), torch.manual_seed(0)
    dt = torch.float32 if dtype == "f32" else torch.bfloat16
    kind = row.split()[0]
    cls = AutoencoderKL if kind == "vae" else UNet2DConditionModel
    folder = f"{WORK}/{kind}"
    if not os.path.exists(folder):  # SDXL in 16 bits: 5 GB instead of 10
        torch.set_default_dtype(torch.bfloat16 if kind == "sdxl" else torch.float32)
        made = cls(**{"sd2": SD2, "sdxl": SDXL, "vae": VAE}[kind])
        torch.set_default_dtype(torch.float32)
        made.save_pretrained(folder)
        del made
    m = cls.from_pretrained(folder, torch_dtype=dt).eval().to(memory_format=torch.channels_last)
    mb = sum(p.numel() for p in m.parameters()) * dt.itemsize / 2**20

    def last(*shape):
        return torch.randn(*shape, dtype=dt).to(memory_format=torch.channels_last)

    if kind == "vae":
        x, call = (last(1, 4, 64, 64), m.decode) if row == "vae decode" else (last(1, 3, 512, 512), m.encode)
        f = lambda: call(x)  # noqa: E731
    else:
        B, c = int(row.split(" b")[1]), m.config
        x, t, text = last(B, 9, c.sample_size, c.sample_size), torch.full((B,), 500), torch.randn(B, 77, c.cross_attention_dim, dtype=dt)
        more = dict(text_embeds=torch.randn(B, 1280, dtype=dt), time_ids=torch.full((B, 6), 1024.0, dtype=dt)) if kind == "sdxl" else None
        f = lambda: m(x, t, text, added_cond_kwargs=more)  # noqa: E731

    def run():
        with torch.inference_mode():
            f()
    return run, mb


def torch_memory(row, dtype):
    """In a process of its own: the most during two evaluations, beyond the weights and the libraries; loading does not count."""
    import torch, diffusers.models.unets.unet_2d_condition, diffusers.models.autoencoders.autoencoder_kl  # noqa: E401, F401
    begun = status_mb("VmRSS")
    f, mb = work(row, dtype)
    print(peak_of(f) - mb - begun)


if "--memory" in sys.argv:
    torch_memory(*sys.argv[-2:])
    sys.exit()
rounds, pairs = rows_of(("sd2 b1", "sd2 b2", "vae decode", "vae encode"))
for row, dtype in pairs:
    f, _ = work(row, dtype)
    f()
    mine, theirs = [], []
    for _ in range(rounds):
        time_of, memory = ours(PROGRAM, row, "--seconds", "1", "--dtype", dtype, BENCH_MODELS=WORK)[-2:]
        mine.append(time_of["cpu_s"]), theirs.append(seconds(f))
    del f
    beyond = apart(PROGRAM, "--memory", row, dtype)
    print(json.dumps({"row": row, "dtype": dtype, "threads": 1, "clock": "cpu", "rounds": rounds, **compared(mine, theirs), "weights_mb": memory["weights_mb"],
                      "vismin_beyond_mb": memory["beyond_mb"], "torch_beyond_mb": round(beyond), "memory_ratio": round(memory["beyond_mb"] / beyond, 3)}), flush=True)
