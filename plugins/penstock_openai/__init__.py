"""OpenAI's protocol: clients that exist for it can use an app's endpoints as models.

The names in the first part of ``__all__`` are for apps. The last one is the plug-in, which is found by itself.
"""

from penstock_openai.audio_offers import Speech, Transcriptions
from penstock_openai.audio_requests import SpeechRequest, TranscriptionRequest
from penstock_openai.completion_request import CompletionRequest
from penstock_openai.embedding_answers import Embedding
from penstock_openai.openai_offers import Chat, Completions, Embeddings
from penstock_openai.plugin import OpenAIPlugin
from penstock_openai.response_offers import Responses
from penstock_openai.transcripts import Segment, Transcript, Word

__all__ = [
    "Chat",
    "CompletionRequest",
    "Completions",
    "Embedding",
    "Embeddings",
    "OpenAIPlugin",
    "Responses",
    "Segment",
    "Speech",
    "SpeechRequest",
    "Transcript",
    "TranscriptionRequest",
    "Transcriptions",
    "Word",
]
