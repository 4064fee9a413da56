"""The networks and their parts."""

from tagnn_fast.nn.architectures import register_architecture
from tagnn_fast.nn.attention_enhanced import AttentionEnhancedGNN
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.gated_propagation import GatedPropagation
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.session_readout import SessionReadout
from tagnn_fast.nn.session_transformer import SessionTransformer
from tagnn_fast.nn.sr_gnn import SRGNN
from tagnn_fast.nn.tagnn import TAGNN
from tagnn_fast.nn.tagnn_pp import TAGNNPP

__all__ = [
    "SRGNN",
    "TAGNN",
    "TAGNNPP",
    "AttentionEnhancedGNN",
    "GatedPropagation",
    "ModelConfig",
    "SessionModel",
    "SessionReadout",
    "SessionTransformer",
    "register_architecture",
]
