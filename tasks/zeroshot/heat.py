"""Which patches of an image a vision transformer's answer hangs on: EigenCAM and GradCAM.

Both look at the activations ``[B, P, D]`` of the image's patches before the last layer's attention, the place that
pytorch-grad-cam's guide names for transformers. They are weak evidence: EigenCAM shows what varies most over the image,
whatever was asked, and GradCAM what would raise the class's odds at first order, in one layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def eigen_cam(activations: Tensor) -> Tensor:
    """The first principal component of each image's activations (Muhammad and Yeasin 2020, arXiv:2008.00299).

    Computed for the whole batch from the patches' Gram matrix, which is smaller than the activations' covariance; its
    sign is as arbitrary as that of any principal component: see ``turned``.

    Args:
        activations: ``[B, P, D]``.

    Returns:
        ``[B, P]``.
    """
    import torch

    centred = activations - activations.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred @ centred.mT)
    scores: Tensor = vectors[..., -1] * values[..., -1:].clamp(min=0).sqrt()
    return scores


def levelled(activations: Tensor, where: Tensor) -> Tensor:
    """Activations whose patches in some places are the image's mean patch: what was there is gone.

    Args:
        activations: ``[B, P, D]``.
        where: ``[B, P]``, bool.
    """
    import torch

    return torch.where(where[..., None], activations.mean(1, keepdim=True), activations)


def turned(maps: Tensor, without_high: Tensor, without_low: Tensor) -> Tensor:
    """The maps, turned round so that the class hangs on their high side.

    Args:
        maps: ``[B, P]``.
        without_high: ``[B]``, the class's odds with all patches above 0 levelled.
        without_low: ``[B]``, the same for those below 0.
    """
    import torch

    return torch.where(without_high <= without_low, 1, -1)[:, None] * maps


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Activations weighted by their mean gradient, cut off below 0 (Selvaraju et al. 2017, arXiv:1610.02391).

    Args:
        activations: ``[B, P, D]``.
        gradients: Of the class's score with respect to them, ``[B, P, D]``.

    Returns:
        ``[B, P]``.
    """
    weights = gradients.mean(1, keepdim=True)
    return (activations * weights).sum(-1).clamp(min=0)
