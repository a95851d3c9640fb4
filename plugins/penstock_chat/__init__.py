"""Chat, whichever the protocol: the request that a handler takes, the pieces that it yields, and what it can do.

The names in the first part of ``__all__`` are for handlers. The others are for plug-ins that speak a protocol.
"""

from penstock_chat.answer import ChatAnswer, total_usage
from penstock_chat.answer_filter import AnswerFilter, SchemaMismatch
from penstock_chat.body_descriptions import describe_operation
from penstock_chat.body_faults import encoded_input, read_object, refuse, refuse_field
from penstock_chat.chat_offers import ChatOffer, GenerationOffer
from penstock_chat.chat_request import ChatRequest, ResponseFormat, Sampling, Tool
from penstock_chat.data_urls import data_of_base64, data_of_url
from penstock_chat.messages import Audio, File, Image, Message, Part
from penstock_chat.model_offers import ModelOffer, ModelTable
from penstock_chat.path_prefixes import PathSettings
from penstock_chat.pieces import (
    Finish,
    Logprob,
    Piece,
    Reasoning,
    Text,
    ToolCall,
    Usage,
    decode_piece,
    pieces_of,
)
from penstock_chat.stop_matcher import checked_stops

__all__ = [  # noqa: RUF022 - in two parts
    "Audio",
    "ChatRequest",
    "File",
    "Finish",
    "Image",
    "Logprob",
    "Message",
    "Part",
    "Piece",
    "Reasoning",
    "ResponseFormat",
    "Text",
    "Tool",
    "ToolCall",
    "Usage",
    # for protocols
    "AnswerFilter",
    "ChatAnswer",
    "ChatOffer",
    "GenerationOffer",
    "ModelOffer",
    "ModelTable",
    "PathSettings",
    "Sampling",
    "SchemaMismatch",
    "checked_stops",
    "data_of_base64",
    "data_of_url",
    "decode_piece",
    "describe_operation",
    "encoded_input",
    "pieces_of",
    "read_object",
    "refuse",
    "refuse_field",
    "total_usage",
]
