/* Records one publisher to a file, as sent: record [PORT [FILE]]
 *
 *   cc -o record record.c $(pkg-config --cflags --libs gstreamer-1.0)
 *
 * Ends when the publisher has left, and at Ctrl-C, with all that was received in the file. */

#include <gst/gst.h>
#include <glib-unix.h>
#include <signal.h>

typedef struct
{
  GstElement *pipeline;
  GMainLoop *loop;
  int status;
} Recorder;

static void
tell (const GstStructure * s)
{
  guint port;
  guint64 tags;

  if (gst_structure_has_name (s, "rtmp2server-listening")
      && gst_structure_get_uint (s, "port", &port))
    g_print ("listening on port %u\n", port);
  else if (gst_structure_has_name (s, "rtmp2server-publisher-connected"))
    g_print ("%s publishes\n", gst_structure_get_string (s, "address"));
  else if (gst_structure_has_name (s, "rtmp2server-publisher-disconnected")
      && gst_structure_get_uint64 (s, "tags", &tags))
    g_print ("recorded %" G_GUINT64_FORMAT " tags: %s\n", tags,
        gst_structure_get_string (s, "reason"));
}

static gboolean
on_message (GstBus * bus, GstMessage * message, gpointer data)
{
  Recorder *recorder = data;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_EOS:
      g_main_loop_quit (recorder->loop);
      break;
    case GST_MESSAGE_ERROR:{
      GError *error = NULL;

      gst_message_parse_error (message, &error, NULL);
      g_printerr ("%s\n", error->message);
      g_error_free (error);
      recorder->status = 1;
      g_main_loop_quit (recorder->loop);
      break;
    }
    case GST_MESSAGE_ELEMENT:
      tell (gst_message_get_structure (message));
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

/* Ctrl-C asks for the end instead of being it: the element puts out what it has, then EOS. */
static gboolean
on_interrupt (gpointer data)
{
  Recorder *recorder = data;

  gst_element_send_event (recorder->pipeline, gst_event_new_eos ());
  return G_SOURCE_CONTINUE;
}

int
main (int argc, char **argv)
{
  Recorder recorder = { NULL, NULL, 0 };
  GstElement *source, *sink;
  GstBus *bus;

  gst_init (&argc, &argv);
  source = gst_element_factory_make ("rtmp2serversrc", NULL);
  if (!source) {
    g_printerr ("The plugin rtmp2server is not installed, or not in GST_PLUGIN_PATH.\n");
    return 1;
  }
  sink = gst_element_factory_make ("filesink", NULL);
  if (!sink) {
    g_printerr ("GStreamer's core elements are not installed.\n");
    return 1;
  }
  /* Takes a port as text, and complains about what is none. */
  gst_util_set_object_arg (G_OBJECT (source), "port", argc > 1 ? argv[1] : "1935");
  g_object_set (sink, "location", argc > 2 ? argv[2] : "output.flv", NULL);

  recorder.pipeline = gst_pipeline_new (NULL);
  gst_bin_add_many (GST_BIN (recorder.pipeline), source, sink, NULL);
  if (!gst_element_link (source, sink)) {
    g_printerr ("The elements do not fit.\n");
    return 1;
  }

  recorder.loop = g_main_loop_new (NULL, FALSE);
  bus = gst_element_get_bus (recorder.pipeline);
  gst_bus_add_watch (bus, on_message, &recorder);
  g_unix_signal_add (SIGINT, on_interrupt, &recorder);

  /* What went wrong is on the bus, so that the loop is run also then. */
  gst_element_set_state (recorder.pipeline, GST_STATE_PLAYING);
  g_main_loop_run (recorder.loop);

  gst_element_set_state (recorder.pipeline, GST_STATE_NULL);
  gst_bus_remove_watch (bus);
  gst_object_unref (bus);
  gst_object_unref (recorder.pipeline);
  g_main_loop_unref (recorder.loop);
  return recorder.status;
}
