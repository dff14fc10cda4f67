/* SPDX-License-Identifier: MIT
 * Functions that the statically linked program has in place of those of the libraries for GSSAPI, LDAP, RTMP and SSH,
 * to which Debian's libcurl.a refers and of which there are no static ones. organ permits only http and https
 * (CURLOPT_PROTOCOLS_STR), so libcurl calls libssh2_init and libssh2_exit only, and those of GSSAPI if a SOCKS proxy
 * asks for it: these report a failure. */

/* The numbers and pointers that these functions return are returned in the same register, on x86-64 and aarch64. */
#define ANSWER(name, value)                                                                                            \
    long name(void);                                                                                                   \
    long name(void) { return value; }

/* clang-format off */
#define OF_GSSAPI(F) \
    F(gss_delete_sec_context) F(gss_display_name) F(gss_display_status) F(gss_import_name) F(gss_init_sec_context) \
    F(gss_inquire_context) F(gss_release_buffer) F(gss_release_name) F(gss_unwrap) F(gss_wrap)
/* These return a pointer: NULL. */
#define OBJECTS(F) \
    F(ldap_err2string) F(libssh2_agent_init) F(libssh2_hostkey_hash) F(libssh2_knownhost_init) F(libssh2_scp_recv2) \
    F(libssh2_scp_send64) F(libssh2_session_abstract) F(libssh2_session_callback_set) F(libssh2_session_hostkey) \
    F(libssh2_session_init_ex) F(libssh2_sftp_init) F(libssh2_sftp_open_ex) F(libssh2_userauth_list) \
    F(libssh2_version) F(RTMP_Alloc)
/* These return an error, or what libcurl ignores. */
#define ACTIONS(F) \
    F(ber_bvfree) F(ber_free) F(ber_memfree) F(ber_sockbuf_add_io) F(ldap_abandon_ext) F(ldap_free_urldesc) \
    F(ldap_get_attribute_ber) F(ldap_get_dn_ber) F(ldap_get_option) F(ldap_init_fd) F(ldap_memfree) F(ldap_msgfree) \
    F(ldap_msgtype) F(ldap_parse_result) F(ldap_parse_sasl_bind_result) F(ldap_pvt_url_scheme2proto) F(ldap_result) \
    F(ldap_sasl_bind) F(ldap_search_ext) F(ldap_set_option) F(ldap_start_tls) F(ldap_unbind_ext) F(ldap_url_parse) \
    F(libssh2_agent_connect) F(libssh2_agent_disconnect) F(libssh2_agent_free) F(libssh2_agent_get_identity) \
    F(libssh2_agent_list_identities) F(libssh2_agent_userauth) F(libssh2_channel_free) F(libssh2_channel_read_ex) \
    F(libssh2_channel_send_eof) F(libssh2_channel_wait_closed) F(libssh2_channel_wait_eof) \
    F(libssh2_channel_write_ex) F(libssh2_knownhost_add) F(libssh2_knownhost_checkp) F(libssh2_knownhost_del) \
    F(libssh2_knownhost_free) F(libssh2_knownhost_get) F(libssh2_knownhost_readfile) F(libssh2_knownhost_writefile) \
    F(libssh2_session_block_directions) F(libssh2_session_disconnect_ex) F(libssh2_session_flag) \
    F(libssh2_session_free) F(libssh2_session_handshake) F(libssh2_session_last_errno) F(libssh2_session_last_error) \
    F(libssh2_session_method_pref) F(libssh2_session_set_blocking) F(libssh2_sftp_close_handle) \
    F(libssh2_sftp_last_error) F(libssh2_sftp_mkdir_ex) F(libssh2_sftp_read) F(libssh2_sftp_readdir_ex) \
    F(libssh2_sftp_rename_ex) F(libssh2_sftp_rmdir_ex) F(libssh2_sftp_seek64) F(libssh2_sftp_shutdown) \
    F(libssh2_sftp_stat_ex) F(libssh2_sftp_statvfs) F(libssh2_sftp_symlink_ex) F(libssh2_sftp_unlink_ex) \
    F(libssh2_sftp_write) F(libssh2_userauth_authenticated) F(libssh2_userauth_keyboard_interactive_ex) \
    F(libssh2_userauth_password_ex) F(libssh2_userauth_publickey_fromfile_ex) F(RTMP_Close) F(RTMP_Connect1) \
    F(RTMP_ConnectStream) F(RTMP_Free) F(RTMP_Init) F(RTMP_Read) F(RTMP_SetBufferMS) F(RTMP_SetupURL) F(RTMP_Write)
/* clang-format on */

#define GSS_FAILURE(name) ANSWER(name, 13L << 16) /* GSS_S_FAILURE of RFC 2744 */
#define NONE(name)        ANSWER(name, 0)
#define FAILURE(name)     ANSWER(name, -1)
OF_GSSAPI(GSS_FAILURE)
OBJECTS(NONE)
ACTIONS(FAILURE)
ANSWER(libssh2_init, 0) /* 0: success, without which libcurl does not start */
ANSWER(libssh2_exit, 0)

extern void *const GSS_C_NT_HOSTBASED_SERVICE;
void *const GSS_C_NT_HOSTBASED_SERVICE = (void *)0;
