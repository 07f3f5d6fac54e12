"""make.py - loss.safetensors: losses, gradients and thresholds of small random batches, by plain torch in double.

The formulas are written out here in the order of the published trainers (negatives grouped by sample), without looking at
models/loss.c. Inputs are f32; everything else is computed in f64 from them.

    python tests/golden/loss/make.py
"""
import math, os
import torch
from safetensors.torch import save_file

torch.manual_seed(7)
out = {}


def unit(*shape):
    x = torch.randn(*shape, dtype=torch.float64)
    return (x / x.norm(dim=-1, keepdim=True)).float()


def ce(logits, target):
    return torch.nn.functional.cross_entropy(logits, target)


# what a case may set, in the order in which test_clip_loss.c reads it
FIELDS = ["n", "with", "K", "text_only", "kind", "neg_txt", "neg_img", "twin", "imc_w", "imc", "cmr_w", "theta", "fixed", "upper",
          "ref_invalid", "scale", "bias", "per_cell"]
KIND = {"itc": 0, "itc-hn": 1, "sigmoid": 2}
IMC = {"positive": 0, "head": 1, "2023": 2}
THETA = {"mean": 0, "max": 1, "fixed": 2}


def case(name, n, K=0, with_=None, E=6, kind="itc", neg_txt=False, neg_img=False, text_only=False, twin=0.0, imc_w=0.0, imc="positive",
         cmr_w=0.0, theta="mean", fixed=0.0, upper=10.0, ref_invalid=False, invalid=(), scale=math.log(20.0), empty=None, near=0.0, bias=0.0, per_cell=False):
    m = n if with_ is None else with_
    I, T = unit(n, E), unit(n, E)
    NI, NT = unit(m, K, E) if K else None, unit(m, K, E) if K else None       # by sample, as the published data has them
    if near:                                                                  # like a trained model: pairs match, changes nearly so
        T = torch.nn.functional.normalize(I + near * T, dim=-1)
        if K: NT = torch.nn.functional.normalize(T[:m, None] + near * NT, dim=-1)
    valid = torch.ones(m, max(K, 1), dtype=torch.float64)
    for i, k in invalid: valid[i, k] = 0
    if empty is not None: valid[:, empty] = 0
    # the rows of the program: originals, then changes column by column
    flat = lambda X: X.transpose(0, 1).reshape(m * K, E)
    img = (torch.cat([I, flat(NI)]) if K and not text_only else I).clone()
    txt = (torch.cat([T, flat(NT)]) if K else T).clone()
    img64, txt64 = img.double().requires_grad_(), txt.double().requires_grad_()
    ls = torch.tensor(float(torch.tensor(scale, dtype=torch.float32)), dtype=torch.float64, requires_grad=True)
    lb = torch.tensor(float(bias), dtype=torch.float64, requires_grad=True)
    has = lambda w: w > 0
    use_img = kind != "itc-hn" or neg_img or has(twin)
    use_txt = kind != "itc-hn" or neg_txt or has(twin) or has(imc_w) or has(cmr_w)
    col = lambda X: X[n:].reshape(K, m, E).transpose(0, 1)                    # back to (sample, K, E)
    thetas = torch.full((max(K, 1),), fixed if theta == "fixed" else 0.0, dtype=torch.float64)
    res = []
    for step in range(3 if has(cmr_w) else 1):
        s = ls.exp()
        i0, t0 = img64[:n], txt64[:n]
        ni, nt = (col(img64) if K and use_img and not text_only else None), (col(txt64) if K and use_txt else None)
        live = valid.bool() if not ref_invalid else torch.ones_like(valid).bool()
        if kind != "itc-hn":
            q = torch.cat([torch.ones(n).bool(), live.reshape(-1)]) if K else torch.ones(n).bool()
            a = torch.cat([i0, ni.reshape(-1, E)])[q] if K else i0
            b = torch.cat([t0, nt.reshape(-1, E)])[q] if K else t0
            A = s * a @ b.T
            y = torch.arange(len(A))
            itc = (ce(A, y) + ce(A.T, y)) / 2
            if kind == "sigmoid":
                z = 2 * torch.eye(len(A), dtype=torch.float64) - 1
                each = -torch.nn.functional.logsigmoid(z * (A + lb))
                itc = each.mean() if per_cell else each.sum(1).mean()
        else:
            y = torch.arange(n)
            texts = torch.cat([t0, nt[live]]) if neg_txt else t0
            images = torch.cat([i0, ni[live]]) if neg_img else i0
            itc = (ce(s * i0 @ texts.T, y) + ce(s * t0 @ images.T, y)) / 2
        loss, tw, im, cm = itc, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        if has(twin):
            terms = []
            for i in range(m):
                for k in range(K):
                    if not valid[i, k]: continue
                    right, other = s * i0[i] @ t0[i], s * ni[i, k] @ nt[i, k]
                    w1, w2 = s * i0[i] @ nt[i, k], s * ni[i, k] @ t0[i]
                    terms += [torch.nn.functional.softplus(w - r) for w in (w1, w2) for r in (right, other)]
            tw = torch.stack(terms).mean()
            loss = loss + twin * tw
        if has(imc_w):
            H = nt[live] if imc == "positive" else nt.reshape(-1, E)
            B = s * t0 @ H.T
            g = (s * (i0 * t0).sum(1))[:, None]
            if imc == "positive": im = ce(torch.cat([g, B], 1), torch.zeros(n).long())
            elif imc == "head": im = ce(B, torch.zeros(n).long())
            else: im = ce(torch.cat([g, B], 1), torch.ones(n).long())
            loss = loss + imc_w * im
        if has(cmr_w):
            g = s * (i0[:m] * t0[:m]).sum(1)
            d = s * torch.einsum("ie,ike->ik", i0[:m], nt) * valid
            cm = (torch.relu(thetas[None] + d - g[:, None]) * valid).sum() / (m * K)
            loss = loss + cmr_w * cm
        gi, gt, gs, gb = torch.autograd.grad(loss, [img64, txt64, ls, lb], allow_unused=True)
        res.append([float(x.detach()) for x in (loss, itc, tw, im, cm)])
        if has(cmr_w):
            with torch.no_grad():
                if theta == "mean":
                    new = g.mean() - d.sum(0) / (d != 0).sum(0)
                    new = torch.where(torch.isnan(new), thetas, new)          # a column without a valid cell keeps its threshold
                elif theta == "max":
                    new = (g[:, None] * valid - d).amax(0) / 5
                    new = torch.where(valid.sum(0) == 0, thetas, new)
                else: new = thetas
                thetas = new if theta == "fixed" else new.clamp(0, upper)
    rows_i = n + (m * K if use_img and K else 0)
    rows_t = n + (m * K if use_txt and K else 0)
    fields = dict(n=n, K=K, text_only=text_only, kind=KIND[kind], neg_txt=neg_txt, neg_img=neg_img, twin=twin, imc_w=imc_w, imc=IMC[imc],
                  cmr_w=cmr_w, theta=THETA[theta], fixed=fixed, upper=upper, ref_invalid=ref_invalid, scale=scale, bias=bias, per_cell=per_cell)
    fields["with"] = m if K else 0
    out[name + ".options"] = torch.tensor([float(fields[f]) for f in FIELDS])
    out[name + ".img"], out[name + ".txt"] = img[:rows_i].contiguous(), txt[:rows_t].contiguous()
    if K: out[name + ".valid"] = valid[:, :K].T.contiguous().float()
    out[name + ".terms"] = torch.tensor(res)
    out[name + ".d_img"], out[name + ".d_txt"] = gi[:rows_i].float().contiguous(), gt[:rows_t].float().contiguous()
    out[name + ".d_scale"] = gs.float().reshape(1)
    if kind == "sigmoid": out[name + ".d_bias"] = gb.float().reshape(1)
    if has(cmr_w): out[name + ".theta"] = thetas.float()


case("itc", 5)
case("itc_edits", 4, 1, with_=3)
case("itc_edits_two_missing", 4, 2, invalid=[(1, 0), (3, 1)])
case("hn_text", 4, 1, kind="itc-hn", neg_txt=True, text_only=True)
case("hn_image", 4, 1, kind="itc-hn", neg_img=True)
case("hn_both", 4, 3, kind="itc-hn", neg_txt=True, neg_img=True, with_=3)
case("hn_missing", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, invalid=[(0, 0), (2, 3), (3, 1)])
case("hn_missing_ref", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, invalid=[(0, 0), (2, 3), (3, 1)], ref_invalid=True)
case("twins", 4, 2, twin=0.7, invalid=[(2, 1)])
case("imc", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, imc_w=0.3, invalid=[(1, 2)])
case("imc_ref_head", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, imc_w=0.3, imc="head", invalid=[(1, 2)], ref_invalid=True)
case("imc_ref_2023", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, imc_w=0.2, imc="2023", ref_invalid=True)
case("cmr_mean", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, cmr_w=0.2, invalid=[(1, 2)], near=0.5)
case("cmr_max", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, cmr_w=0.2, theta="max", near=0.5)
case("cmr_fixed", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, cmr_w=0.2, theta="fixed", fixed=10.0, near=0.5)
case("cmr_bound", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, cmr_w=0.2, upper=1.5, near=0.8, scale=math.log(100.0))
case("cmr_empty_column", 4, 4, kind="itc-hn", neg_txt=True, text_only=True, cmr_w=0.2, empty=2, near=0.5)
case("ceclip", 6, 4, kind="itc-hn", neg_txt=True, text_only=True, imc_w=0.3, cmr_w=0.2, near=0.4, invalid=[(0, 1), (5, 3)], scale=math.log(100.0))
case("ceclip_head", 6, 4, kind="itc-hn", neg_txt=True, text_only=True, imc_w=0.3, imc="head", cmr_w=0.2, near=0.4, invalid=[(0, 1), (5, 3)],
     ref_invalid=True, scale=math.log(100.0))
case("sigmoid", 5, kind="sigmoid", bias=-2.0)
case("sigmoid_edits", 4, 2, kind="sigmoid", bias=-10.0, near=0.4, scale=math.log(100.0), invalid=[(1, 0), (3, 1)], twin=0.5)
case("sigmoid_per_cell", 4, 1, kind="sigmoid", bias=-10.0, per_cell=True, near=0.4, invalid=[(2, 0)])
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "loss.safetensors"), {"format": "pt"})
print(len(out), "tensors")
